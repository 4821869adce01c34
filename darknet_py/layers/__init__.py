"""One file a section type: its keys, its shapes, its module. Importing this package fills the registry."""

from __future__ import annotations

from darknet_py.layers import (
    activation,
    avgpool,
    batchnorm,
    connected,
    convolutional,
    cost,
    crop,
    deconvolutional,
    detection,
    dropout,
    iseg,
    l2norm,
    local,
    logistic,
    maxpool,
    normalization,
    recurrent,
    region,
    reorg,
    route,
    shortcut,
    softmax,
    upsample,
    yolo,
)
from darknet_py.layers.base import REGISTRY, Blob, Layer, Shape, register

__all__ = ["REGISTRY", "Blob", "Layer", "Shape", "register"]

_MODULES = (
    activation,
    avgpool,
    batchnorm,
    connected,
    convolutional,
    cost,
    crop,
    deconvolutional,
    detection,
    dropout,
    iseg,
    l2norm,
    local,
    logistic,
    maxpool,
    normalization,
    recurrent,
    region,
    reorg,
    route,
    shortcut,
    softmax,
    upsample,
    yolo,
)
