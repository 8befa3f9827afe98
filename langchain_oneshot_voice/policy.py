"""CallPolicy: how much calls may cost, and how often one person may be called.

A policy is the application's: nothing that a model fills in can loosen it.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Dollars = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=6)]


class CallPolicy(BaseModel):
    """Limits on calls. `None` turns a limit off.

    Limits over a day hold for the 24 hours before the call, across every thread, process and
    machine that shares the journal, for one wallet.

    Example:
        ```python
        CallPolicy(max_cost_per_call=3, max_cost_per_day=20)
        ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cost_per_call: Dollars | None = Decimal(10)
    """US dollars. A dearer quote is refused, and nothing is signed."""
    max_cost_per_day: Dollars | None = Decimal(50)
    """US dollars in any 24 hours."""
    max_calls_per_number_per_day: Annotated[int, Field(ge=1)] | None = 3
    """Calls to one number in any 24 hours."""
    duplicate_window: timedelta | None = timedelta(minutes=10)
    """For how long the same objective to the same numbers is answered by the earlier call."""
