"""The results for a picture: boxes, or classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.pictures.opening import Size

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class Classification:
    """The most probable classes of one picture, best first."""

    labels: Tensor  # (K,) int64
    probabilities: Tensor  # (K,)
    names: tuple[str, ...]  # (K,)

    def __len__(self) -> int:
        return len(self.names)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict per class, ready for JSON."""
        rows = zip(self.labels.tolist(), self.names, self.probabilities.tolist(), strict=True)
        return [{"class_id": label, "name": name, "probability": value} for label, name, value in rows]


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes found in one picture, best first; a box with several classes has one row for each.

    Everything is on the CPU. Boxes may reach beyond the picture, as Darknet's do.
    """

    boxes: Tensor  # (N, 4) float64: left, top, right, bottom in pixels of the picture
    scores: Tensor  # (N,) from 0 to 1
    labels: Tensor  # (N,) int64, the class
    names: tuple[str, ...]  # (N,) the name of the class
    image_size: Size  # width, height

    def __len__(self) -> int:
        return len(self.names)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict per row, ready for JSON; `box` in pixels, `relative_coordinates` as fractions of the picture."""
        width, height = self.image_size
        rows = zip(self.labels.tolist(), self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        return [
            {
                "class_id": label,
                "name": name,
                "confidence": score,
                "box": [left, top, right, bottom],
                "relative_coordinates": {
                    "center_x": (left + right) / 2 / width,
                    "center_y": (top + bottom) / 2 / height,
                    "width": (right - left) / width,
                    "height": (bottom - top) / height,
                },
            }
            for label, name, score, (left, top, right, bottom) in rows
        ]

    def to_supervision(self) -> supervision.Detections:
        """The same as `supervision.Detections`; needs the extra `supervision`."""
        try:
            import numpy as np  # noqa: PLC0415
            import supervision  # noqa: PLC0415
        except ImportError as error:
            raise DarknetError("supervision is not installed: pip install 'darknet-torch[supervision]'") from error
        return supervision.Detections(
            xyxy=self.boxes.numpy().reshape(-1, 4),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )
