"""What the world saw of a call: how often it was paid and rung, read from the sandbox's books."""

from __future__ import annotations

from langchain_oneshot_voice.sandbox import Sandbox


def times_paid(sandbox: Sandbox, payer: str | None = None) -> int:
    """Calls that were paid for, by `payer` or by anyone.

    A call paid partly from credits has two records of one payment; two signed transfers for one
    call count as two.
    """
    mine = [p for p in sandbox.payments if payer in {None, p.payer}]
    return max(len({p.request_id for p in mine}), sum(p.kind == "usdc" for p in mine))


def times_rung(sandbox: Sandbox) -> int:
    """Phones that rang."""
    return len(sandbox.rings)


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Columns of equal width, for a terminal."""
    cells = [header, *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
