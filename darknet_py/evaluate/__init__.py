"""Measures a network: its detections or classes against labels."""

from darknet_py.evaluate.measuring import measure
from darknet_py.evaluate.scores import Scores as Scores

__all__ = ["Scores", "measure"]
