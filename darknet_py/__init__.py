"""Darknet in PyTorch: original cfg and .weights files, the C program's numbers.

>>> import darknet_py
>>> model = darknet_py.load("cfg/yolov2.cfg", "yolov2.weights", data="cfg/coco.data")
>>> model.detect("dog.jpg", thresh=0.5).to_dicts()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darknet_py.errors import CfgError as CfgError
    from darknet_py.errors import CfgWarning as CfgWarning
    from darknet_py.errors import DarknetError as DarknetError
    from darknet_py.errors import DownloadError as DownloadError
    from darknet_py.errors import ImageError as ImageError
    from darknet_py.errors import WeightsError as WeightsError
    from darknet_py.model import Model as Model
    from darknet_py.model import load as load
    from darknet_py.network.graph import Graph
    from darknet_py.network.module import Network
    from darknet_py.predict.detections import Classification, Detections

__version__ = "0.1.0"

_HOME = {
    "Classification": "predict.detections",
    "Detections": "predict.detections",
    "CfgError": "errors",
    "CfgWarning": "errors",
    "DarknetError": "errors",
    "DownloadError": "errors",
    "ImageError": "errors",
    "WeightsError": "errors",
    "Graph": "network.graph",
    "Model": "model",
    "load": "model",
    "Network": "network.module",
}
__all__ = [
    "CfgError",
    "CfgWarning",
    "Classification",
    "DarknetError",
    "Detections",
    "DownloadError",
    "Graph",
    "ImageError",
    "Model",
    "Network",
    "WeightsError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that `darknet-py --help` need not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
