"""How much of the tests to run."""

from __future__ import annotations

import os

FULL = os.environ.get("CHAOS") == "full"
"""Whether this is `make chaos`: all examples, and every combination of parameters."""
