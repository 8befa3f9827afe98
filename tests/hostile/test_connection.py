"""The connection: refused, cut, reset, silent, garbled, on each leg of a call."""

from __future__ import annotations

from hostile import deeds
from hostile.attack import Attack, Deed, Leg, ends
from hostile.trials import LONG, Withstand

pytestmark = LONG

HTTP_LEGS: tuple[Leg, ...] = ("quote", "paid", "poll", "receipts")

_FAULTS: dict[str, Deed] = {
    "read-then-reset": deeds.reset,
    "read-then-closed": deeds.close,
    "cut-header": deeds.cut_in_header,
    "cut-body": deeds.cut_in_body,
    "garbage": deeds.garbage,
    "silence": deeds.stay_silent,
}
_UNREAD: dict[str, Deed] = {
    "closed-at-accept": deeds.close,
    "reset-at-accept": deeds.reset,
    "never-read": deeds.never_read,
}
HONEST = [
    Attack(name="honest", leg="quote", ends=ends("completed")),
    Attack(name="honest", leg="receipts", receipts_tell=True),
]
FAULTS = [
    *(Attack(name=name, leg=leg, deed=deed) for leg in HTTP_LEGS for name, deed in _FAULTS.items()),
    *(
        Attack(name=name, leg=leg, deed=deed, at_accept=True)
        for leg in HTTP_LEGS
        for name, deed in _UNREAD.items()
        if (leg, name) != ("paid", "reset-at-accept")
    ),
    Attack(  # a connection that is reset before anything was written may be known to be unused
        name="reset-at-accept",
        leg="paid",
        deed=deeds.reset,
        at_accept=True,
        ends=ends("unknown", "refused"),
    ),
    Attack(name="refused", leg="quote", down=0),
    Attack(name="refused", leg="paid", down=0, ends=ends("refused")),
    Attack(name="refused-for-a-moment", leg="quote", down=0.2, ends=ends("completed", "refused")),
    Attack(name="refused-for-a-moment", leg="paid", down=0.1, ends=ends("completed")),
    Attack(name="refused-for-a-moment", leg="poll", down=0.5),
    Attack(name="refused", leg="receipts", down=0),
]
FOUND = [
    Attack(name=f"{name}-and-receipts", leg="paid", deed=deed, receipts_tell=True)
    for name, deed in _FAULTS.items()
]
_END_OF_A_DRIP = {
    ("quote", "drip-of-body"): ends("refused"),  # over a bound: it is not asked again
    ("receipts", "drip-of-body"): ends("unknown"),
    ("receipts", "drip-of-header"): ends("unknown"),
}
DRIPS = [
    Attack(
        name=name,
        leg=leg,
        deed=deed,
        times=1,
        receipts_tell=leg == "paid",
        unended=name == "drip-of-body",
        ends=_END_OF_A_DRIP.get((leg, name), ends("completed")),
    )
    for leg in HTTP_LEGS
    for name, deed in {"drip-of-body": deeds.drip_body, "drip-of-header": deeds.drip_header}.items()
]
ENDLESS_POLLS = [
    Attack(
        name=f"endless-{name}",
        leg="poll",
        deed=deed,
        times=None,
        unended=name == "drip-of-body",
        ends=ends("in_progress"),
    )
    for name, deed in {"drip-of-body": deeds.drip_body, "drip-of-header": deeds.drip_header}.items()
]
ALL = [*HONEST, *FAULTS, *FOUND, *ENDLESS_POLLS, *DRIPS]


def test_connection(withstand: Withstand) -> None:
    """No answer is a refusal before payment, no verdict while waiting, `unknown` in between."""
    withstand(ALL)
