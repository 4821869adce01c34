"""`python -m darknet_py` is `darknet-py`."""

from __future__ import annotations

import sys

from darknet_py.cli import main

sys.exit(main())
