"""A local server that implements the provider's API.

It needs no account, moves no money and rings no real phone.
"""

from .faults import Fault
from .line import MAGIC_NUMBERS, CallScript
from .server import Sandbox

__all__ = ["MAGIC_NUMBERS", "CallScript", "Fault", "Sandbox"]
