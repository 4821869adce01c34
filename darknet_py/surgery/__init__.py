"""Darknet's surgery on weights: its commands partial, average, rescale, rgbgr, oneoff, ...

>>> from darknet_py import surgery, weights
>>> surgery.rgbgr(network)
>>> weights.save(network, "bgr.weights")
"""

from __future__ import annotations

from darknet_py.convert.fold import fold as denormalize
from darknet_py.surgery.average import average
from darknet_py.surgery.colours import rescale, rgbgr
from darknet_py.surgery.filters import filters_picture
from darknet_py.surgery.normalization import normalize, reset
from darknet_py.surgery.parts import check_classifier, oneoff, oneoff2, partial
from darknet_py.surgery.speed import Speed, operations, speed
from darknet_py.surgery.statistics import Statistics, matrices, statistics

__all__ = [
    "Speed",
    "Statistics",
    "average",
    "check_classifier",
    "denormalize",
    "filters_picture",
    "matrices",
    "normalize",
    "oneoff",
    "oneoff2",
    "operations",
    "partial",
    "rescale",
    "reset",
    "rgbgr",
    "speed",
    "statistics",
]
