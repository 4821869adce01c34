"""Where recordings and official files are, and the marks of tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALL_TESTS = bool(os.environ.get("DARKNET_PY_ALL_TESTS"))
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared"
OFFICIAL = SHARED / "official"
MODELS = SHARED / "golden" / "models"
PHOTO = SHARED / "golden" / "photo"
SYNTHETIC = SHARED / "golden" / "synthetic_weights.py"

needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official cfg files are not here")
needs_models = pytest.mark.skipif(
    not (OFFICIAL.is_dir() and MODELS.is_dir()), reason="the recordings of official models are not here"
)
needs_photo = pytest.mark.skipif(
    not (OFFICIAL.is_dir() and PHOTO.is_dir()), reason="the recordings of a photograph are not here"
)

takes_long = pytest.mark.skipif(not ALL_TESTS, reason="takes long; DARKNET_PY_ALL_TESTS=1 runs it")


def official_cfgs() -> list[Path]:
    """The official cfg files, or none where they are not here."""
    return sorted((OFFICIAL / "cfg").glob("*.cfg"))
