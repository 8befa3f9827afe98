"""Prices of the sandbox, changed on their way to the caller."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice import Sandbox


def priced(total: str, **context: Any) -> Callable[..., Any]:
    """Build a tamper function: quotes have this price, and these words in their plan."""

    def tamper(status: int, headers: dict[str, str], body: dict[str, Any] | None) -> Any:
        assert body is not None
        terms = json.loads(base64.b64decode(headers["payment-required"]))
        terms["accepts"][0]["amount"] = str(int(Decimal(total) * 10**6))
        header = base64.b64encode(json.dumps(terms).encode()).decode()
        body["payment_request"]["amount"] = total
        body["context"] |= {"total": total, "estimated_call_cost": total}
        body["context"] |= {"phone_registration_fee": "0.00"} | context
        return status, headers | {"payment-required": header}, body

    return tamper


def dollars_paid(sandbox: Sandbox) -> Decimal:
    """Add up all payments, in US dollars."""
    return sum((payment.amount for payment in sandbox.payments), Decimal(0))


def strings_in(value: Any) -> Iterator[str]:
    """Go through every string of a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from strings_in(key)
            yield from strings_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from strings_in(part)
