"""How torch is set up while training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from darknet_py.errors import DarknetError


@contextmanager
def set_up(*, deterministic: bool) -> Iterator[None]:
    """Set torch up for a run, and back; what it runs into becomes a `DarknetError` that says what to do."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DarknetError("the GPU has too little memory for a mini-batch: raise subdivisions") from error
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise DarknetError(f"not with --deterministic: {str(error).splitlines()[0]}") from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
