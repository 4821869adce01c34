"""Official weights from where they are published."""

from darknet_py.download.registry import MODELS, Downloaded, Model, download

__all__ = ["MODELS", "Downloaded", "Model", "download"]
