"""What an account's owner has forbidden or wants to be asked about: budgets, approvals, denials."""

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
"""`pending` until someone decides; `consumed` once it has released its one call."""

HoldAt = Literal["quote", "paid"]
"""At which leg a call is held: when its price is asked for, or when it is paid."""

_BUDGET_FIELDS: Final = frozenset({"daily", "per_transaction", "alert_at", "pause_at"})
_ANSWER_WITHIN: Final = 86_400.0


@dataclass
class Approval:
    """A question to the account's owner about one call."""

    approval_id: str
    wallet: str
    fingerprint: str
    rule: str
    action_summary: str
    created_at: float
    expires_at: float
    status: ApprovalStatus = "pending"

    def to_wire(self, now: float) -> dict[str, Any]:
        """In the shape of the approvals route."""
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
        """The status, once the time is taken into account."""
        waiting = self.status in ("pending", "approved")
        return "expired" if waiting and now >= self.expires_at else self.status


class AccountRules:
    """The rules of every account on the sandbox."""

    def __init__(self) -> None:
        self._budgets: dict[str, dict[str, Decimal]] = {}
        self._denied_by: str | None = None
        self._hold: tuple[Decimal, HoldAt] | None = None
        self._approvals: dict[str, Approval] = {}
        self._open: dict[tuple[str, str], Approval] = {}

    def deny(self, rule: str | None) -> None:
        """Refuse every call, naming this rule; None lifts it."""
        self._denied_by = rule

    def hold(self, above: Decimal | None, at: HoldAt) -> None:
        """Hold every call dearer than `above` until it is approved; None lifts it."""
        self._hold = None if above is None else (above, at)

    def approvals(self) -> tuple[str, ...]:
        """The ids of every approval that was asked for, oldest first."""
        return tuple(self._approvals)

    def approval(self, approval_id: str, wallet: str) -> Approval:
        """One approval of a wallet.

        Raises:
            Refusal: 404, when there is none.
        """
        approval = self._approvals.get(approval_id)
        if approval is None or approval.wallet != wallet:
            raise Refusal(404, "not_found", "There is no such approval.")
        return approval

    def decide(self, approval_id: str, decision: Literal["approved", "denied"]) -> None:
        """Answer an approval.

        Raises:
            KeyError: when there is no such approval.
        """
        self._approvals[approval_id].status = decision

    def check(
        self, quote: Quote, *, leg: HoldAt, approval_id: str | None, spent: Decimal, now: float
    ) -> None:
        """Refuse a call that the account's owner does not want, or has to be asked about.

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
        """Use up the approval that a placed call was released by."""
        approval = self._approvals.get(approval_id or "")
        if approval is not None and approval.status == "approved":
            approval.status = "consumed"
            self._open.pop((quote.wallet, quote.request.fingerprint), None)

    def set_budgets(self, wallet: str, body: object) -> None:
        """Replace a wallet's caps.

        Raises:
            Refusal: 400, when a field is unknown or not a positive number.
        """
        if not isinstance(body, dict) or not body.keys() <= _BUDGET_FIELDS:
            raise Refusal(
                400, "invalid_request", f"Budgets are {', '.join(sorted(_BUDGET_FIELDS))}."
            )
        caps = {name: _cap(name, value) for name, value in body.items() if value is not None}
        self._budgets[wallet] = caps

    def budgets(self, wallet: str, *, spent: Decimal, now: float) -> dict[str, Any]:
        """In the shape of the budgets route."""
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
        shown = self._approvals.get(approval_id or "")
        if shown is not None and not _is_for(shown, quote):
            shown = None
        status = shown.status_at(now) if shown is not None else None
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
        # Asking again about a call that is still open is the same question, not a second one.
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
