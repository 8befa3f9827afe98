"""The provider's side of the wire contract, on this machine.

No account is needed, no money moves and no real phone rings.
"""

from .faults import Fault
from .line import MAGIC_NUMBERS, CallScript
from .server import Sandbox

__all__ = ["MAGIC_NUMBERS", "CallScript", "Fault", "Sandbox"]
