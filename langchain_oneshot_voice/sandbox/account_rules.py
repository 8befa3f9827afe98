"""The rules of an account's owner: budgets, approvals and denials."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from .chain import usd
from .clock import iso
from .ledger import midnight_after
from .quotes import Quote
from .refusals import Refusal

ApprovalStatus = Literal["pending", "approved", "denied", "expired", "cancelled", "consumed"]
"""`pending` until a person decides; `consumed` after it has allowed its one call."""

HoldAt = Literal["quote", "paid"]
"""The leg at which a call is held: the quote or the payment."""

_BUDGET_FIELDS: Final = frozenset({"daily", "per_transaction", "alert_at", "pause_at"})
_ANSWER_WITHIN: Final = 86_400.0


@dataclass
class Approval:
    """A request for the owner's approval of one call."""

    approval_id: str
    wallet: str
    fingerprint: str
    rule: str
    action_summary: str
    created_at: float
    expires_at: float
    status: ApprovalStatus = "pending"

    def to_wire(self, now: float) -> dict[str, Any]:
        """Return the JSON of the approvals route."""
        return {
            "approval_id": self.approval_id,
            "status": self.status_at(now),
            "policy_rule": self.rule,
            "action_summary": self.action_summary,
            "created_at": iso(self.created_at),
            "expires_at": iso(self.expires_at),
            "use_by": iso(self.expires_at),
        }

    def status_at(self, now: float) -> ApprovalStatus:
        """Return the status at a time, which may be past the expiry."""
        is_open = self.status in ("pending", "approved")
        return "expired" if is_open and now >= self.expires_at else self.status


class AccountRules:
    """The rules of all accounts on the sandbox."""

    def __init__(self) -> None:
        self._budgets: dict[str, dict[str, Decimal]] = {}
        self._denied_by: str | None = None
        self._hold: tuple[Decimal, HoldAt] | None = None
        self._approvals: dict[str, Approval] = {}
        self._open: dict[tuple[str, str], Approval] = {}

    def deny(self, rule: str | None) -> None:
        """Refuse every call and name this rule; None allows calls again."""
        self._denied_by = rule

    def hold(self, above: Decimal | None, at: HoldAt) -> None:
        """Hold every call that costs more than `above` until it is approved; None holds none."""
        self._hold = None if above is None else (above, at)

    def approvals(self) -> tuple[str, ...]:
        """Return the ids of all requested approvals, oldest first."""
        return tuple(self._approvals)

    def approval(self, approval_id: str, wallet: str) -> Approval:
        """Return one approval of a wallet.

        Raises:
            Refusal: 404, the wallet has no such approval.
        """
        approval = self._approvals.get(approval_id)
        if approval is None or approval.wallet != wallet:
            raise Refusal(404, "not_found", "There is no such approval.")
        return approval

    def decide(self, approval_id: str, decision: Literal["approved", "denied"]) -> None:
        """Approve or deny.

        Raises:
            KeyError: there is no such approval.
        """
        self._approvals[approval_id].status = decision

    def check(
        self, quote: Quote, *, leg: HoldAt, approval_id: str | None, spent: Decimal, now: float
    ) -> None:
        """Refuse a call that a rule denies, or that needs an approval first.

        Raises:
            Refusal: 403 `action_denied_by_policy`, `budget_exceeded` or `approval_required`.
        """
        if self._denied_by is not None:
            raise Refusal(
                403,
                "action_denied_by_policy",
                "The account's action policy denies this call.",
                rule=self._denied_by,
            )
        self._check_budget(quote, spent=spent, now=now)
        if self._hold is not None and self._hold[1] == leg and quote.total > self._hold[0]:
            self._check_approval(quote, approval_id, now)

    def consume(self, quote: Quote, approval_id: str | None) -> None:
        """Use up the approval of a call that was placed."""
        approval = self._approvals.get(approval_id or "")
        if approval is not None and approval.status == "approved":
            approval.status = "consumed"
            self._open.pop((quote.wallet, quote.request.fingerprint), None)

    def set_budgets(self, wallet: str, body: object) -> None:
        """Replace a wallet's caps.

        Raises:
            Refusal: 400, a field is unknown or not a positive number.
        """
        if not isinstance(body, dict) or not body.keys() <= _BUDGET_FIELDS:
            raise Refusal(
                400, "invalid_request", f"Budgets are {', '.join(sorted(_BUDGET_FIELDS))}."
            )
        caps = {name: _cap(name, value) for name, value in body.items() if value is not None}
        self._budgets[wallet] = caps

    def budgets(self, wallet: str, *, spent: Decimal, now: float) -> dict[str, Any]:
        """Return the JSON of the budgets route."""
        caps: Mapping[str, Decimal] = self._budgets.get(wallet, {})
        return {
            **{
                name: float(caps[name]) if name in caps else None for name in sorted(_BUDGET_FIELDS)
            },
            "spent_today": float(spent),
            "resets_at": iso(midnight_after(now)),
        }

    def _check_budget(self, quote: Quote, *, spent: Decimal, now: float) -> None:
        caps = self._budgets.get(quote.wallet, {})
        for reason, already in (("per_transaction", Decimal(0)), ("daily", spent)):
            cap = caps.get(reason)
            if cap is not None and already + quote.total > cap:
                raise Refusal(
                    403,
                    "budget_exceeded",
                    f"The call would exceed the account's {reason} budget.",
                    budget={
                        "reason": reason,
                        "cap": usd(cap),
                        "spent": usd(already),
                        "charge": usd(quote.total),
                        "resets_at": iso(midnight_after(now)) if reason == "daily" else None,
                    },
                )

    def _check_approval(self, quote: Quote, approval_id: str | None, now: float) -> None:
        approval = self._approvals.get(approval_id or "")
        if approval is not None and not _is_for(approval, quote):
            approval = None
        status = approval.status_at(now) if approval is not None else None
        if status == "approved":
            return
        if status == "denied":
            raise Refusal(
                403,
                "action_denied_by_policy",
                "The account's owner denied this call.",
                rule="approval_denied",
            )
        approval = self._ask(quote, now)
        raise Refusal(
            403,
            "approval_required",
            "The account's owner has to approve this call first.",
            approval_id=approval.approval_id,
            approval=approval.to_wire(now),
        )

    def _ask(self, quote: Quote, now: float) -> Approval:
        key = (quote.wallet, quote.request.fingerprint)
        known = self._open.get(key)
        # A repeated request for the same call gets the same approval, not a second one.
        if known is not None and known.status_at(now) in ("pending", "approved"):
            return known
        approval = Approval(
            approval_id=f"appr_{secrets.token_hex(12)}",
            wallet=quote.wallet,
            fingerprint=quote.request.fingerprint,
            rule="voice_call_above",
            action_summary=f"Call {len(quote.request.numbers)} number(s) for ${usd(quote.total)}",
            created_at=now,
            expires_at=now + _ANSWER_WITHIN,
        )
        self._approvals[approval.approval_id] = approval
        self._open[key] = approval
        return approval


def _is_for(approval: Approval, quote: Quote) -> bool:
    return (approval.wallet, approval.fingerprint) == (quote.wallet, quote.request.fingerprint)


def _cap(name: str, value: object) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        cap = Decimal(str(value))
        if cap > 0:
            return cap
    raise Refusal(400, "invalid_request", f"{name} must be a positive number.")
