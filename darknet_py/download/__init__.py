"""Downloads official weights from where they are published."""

from darknet_py.download.models import MODELS, Model
from darknet_py.download.official import Downloaded, download

__all__ = ["MODELS", "Downloaded", "Model", "download"]
