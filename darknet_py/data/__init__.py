"""Darknet's training data: lists of pictures, label files, augmentation, batches."""

from darknet_py.data.base import Key, PictureData, Sample
from darknet_py.data.boxes import DetectionData
from darknet_py.data.classifier import ClassifierData
from darknet_py.data.loader import batches
from darknet_py.data.problems import DataWarning

__all__ = ["ClassifierData", "DataWarning", "DetectionData", "Key", "PictureData", "Sample", "batches"]
