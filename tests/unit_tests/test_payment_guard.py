"""Nothing becomes terms that may be signed unless every term is what was agreed."""

from __future__ import annotations

import base64
import copy
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice import PaymentTermsError, VoiceCallQuote
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.environment import BASE, BASE_SEPOLIA, Chain

PAYEE = "0x" + "ab" * 20
STRANGER = "0x" + "cd" * 20
QUOTE = VoiceCallQuote(quote_id="quote_1", total=Decimal("1.75"))
CAP = Decimal(10)


def entry(**changes: Any) -> dict[str, Any]:
    """A good way to pay, with changes."""
    good: dict[str, Any] = {
        "scheme": "exact",
        "network": BASE.network,
        "amount": "1750000",
        "asset": BASE.usdc,
        "payTo": PAYEE,
        "maxTimeoutSeconds": 300,
        "extra": {"name": "USD Coin", "version": "2"},
    }
    return good | changes


def requested(**changes: Any) -> dict[str, Any]:
    """The body's own account of the payment, with changes."""
    good = {
        "chain_id": 8453,
        "token_address": BASE.usdc,
        "amount": "1.75",
        "recipient": PAYEE,
    }
    return good | changes


def header(*accepts: Any, **changes: Any) -> str:
    """A PAYMENT-REQUIRED header."""
    terms = {"x402Version": 2, "resource": {"url": "https://x"}, "accepts": list(accepts)} | changes
    return base64.b64encode(json.dumps(terms).encode()).decode()


def agree(
    *accepts: dict[str, Any],
    body: dict[str, Any] | None = None,
    quote: VoiceCallQuote = QUOTE,
    chain: Chain = BASE,
    cap: Decimal | None = CAP,
) -> payment.PaymentTerms:
    """Read and check a 402 answer with these entries."""
    request = {"payment_request": requested() if body is None else body}
    return payment.agree(payment.read_required(header(*accepts), request), quote, chain, cap)


def without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    """The mapping, less one field."""
    return {k: v for k, v in mapping.items() if k != name}


def test_good_terms_are_agreed_to() -> None:
    """Terms in which everything is as agreed are accepted, at the header's amount."""
    terms = agree(entry())

    assert (terms.amount, terms.price, terms.pay_to) == (1_750_000, Decimal("1.75"), PAYEE)


def test_zero_amount_is_agreed_to() -> None:
    """An amount of zero means that credits cover the call, and is a good amount."""
    assert agree(entry(amount="0")).amount == 0


def test_less_than_the_quote_is_agreed_to() -> None:
    """Credits may cover a part: the header asks for less than the total."""
    assert agree(entry(amount="750000")).price == Decimal("0.75")


def test_spelling_of_addresses_does_not_matter() -> None:
    """Addresses are compared as addresses, whatever their checksum's letter case."""
    terms = agree(entry(payTo=PAYEE.upper().replace("0X", "0x"), asset=BASE.usdc.lower()))

    assert terms.amount == 1_750_000


WRONG_ENTRIES: dict[str, dict[str, Any]] = {
    "another scheme": entry(scheme="upto"),
    "no scheme": without(entry(), "scheme"),
    "scheme of a wrong type": entry(scheme=["exact"]),
    "another chain": entry(network="eip155:1"),
    "the test chain": entry(network=BASE_SEPOLIA.network),
    "no chain": without(entry(), "network"),
    "a bare chain id": entry(network=8453),
    "another token": entry(asset=STRANGER),
    "the test chain's token": entry(asset=BASE_SEPOLIA.usdc),
    "no token": without(entry(), "asset"),
    "null token": entry(asset=None),
    "another EIP-712 name": entry(extra={"name": "USDC", "version": "2"}),
    "another EIP-712 version": entry(extra={"name": "USD Coin", "version": "1"}),
    "a numeric EIP-712 version": entry(extra={"name": "USD Coin", "version": 2}),
    "no EIP-712 name": entry(extra={"version": "2"}),
    "no EIP-712 version": entry(extra={"name": "USD Coin"}),
    "no extra": without(entry(), "extra"),
    "extra that is no object": entry(extra="USD Coin"),
    "another payee than the body's": entry(payTo=STRANGER),
    "no payee": without(entry(), "payTo"),
    "a payee that is no address": entry(payTo="treasury.eth"),
    "a payee that is a number": entry(payTo=1),
    "a payee in full-width digits": entry(payTo="0x" + "\uff11" * 40),
    "dearer than the quote": entry(amount="1750001"),
    "a $900 price": entry(amount="900000000"),
    "no amount": without(entry(), "amount"),
    "a numeric amount": entry(amount=1750000),
    "a negative amount": entry(amount="-1"),
    "a decimal amount": entry(amount="1.75"),
    "an exponent": entry(amount="1e6"),
    "a padded amount": entry(amount=" 1750000"),
    "a zero-padded amount": entry(amount="01750000"),
    "an amount with a line break": entry(amount="1750000\n"),
    "an amount in another script's digits": entry(amount="\u0661"),
    "an empty amount": entry(amount=""),
    "an amount beyond uint256": entry(amount="9" * 90),
    "no lifetime": without(entry(), "maxTimeoutSeconds"),
    "a lifetime of zero": entry(maxTimeoutSeconds=0),
    "a negative lifetime": entry(maxTimeoutSeconds=-1),
    "a lifetime in words": entry(maxTimeoutSeconds="300"),
    "a boolean lifetime": entry(maxTimeoutSeconds=True),
    "a fractional lifetime": entry(maxTimeoutSeconds=300.5),
}


@pytest.mark.parametrize("wrong", WRONG_ENTRIES.values(), ids=WRONG_ENTRIES)
def test_wrong_entry_is_refused(wrong: dict[str, Any]) -> None:
    """Terms with one thing wrong or missing are refused, and say that nothing was signed."""
    with pytest.raises(PaymentTermsError, match="nothing was signed") as refused:
        agree(wrong)

    assert (refused.value.charged, refused.value.safe_to_retry) == ("no", False)


WRONG_BODIES: dict[str, dict[str, Any]] = {
    "no payee": without(requested(), "recipient"),
    "null payee": requested(recipient=None),
    "another payee": requested(recipient=STRANGER),
    "a payee of a wrong type": requested(recipient=[PAYEE]),
    "another token": requested(token_address=STRANGER),
    "null token": requested(token_address=None),
    "another chain": requested(chain_id=1),
    "null chain": requested(chain_id=None),
    "empty": {},
}


@pytest.mark.parametrize("wrong", WRONG_BODIES.values(), ids=WRONG_BODIES)
def test_disagreeing_body_is_refused(wrong: dict[str, Any]) -> None:
    """A body that names another payee, token or chain, or no payee, refuses a good header."""
    with pytest.raises(PaymentTermsError, match="header and body"):
        agree(entry(), body=wrong)


@pytest.mark.parametrize("body", [{}, {"payment_request": "0xabc"}, {"payment_request": None}])
def test_body_without_payment_request_is_refused(body: dict[str, Any]) -> None:
    """A check whose counterpart in the body is missing fails."""
    required = payment.read_required(header(entry()), body)

    with pytest.raises(PaymentTermsError, match="different payees"):
        payment.agree(required, QUOTE, BASE, CAP)


def test_price_over_the_cap_is_refused_whatever_the_header_asks() -> None:
    """A quote above the policy's cap is refused even when the header asks for little."""
    dear = QUOTE.model_copy(update={"total": Decimal("10.01")})

    with pytest.raises(PaymentTermsError, match=r"\$10\.01") as refused:
        agree(entry(), quote=dear)

    assert refused.value.code == "cost_limit_exceeded"


def test_price_at_the_cap_is_agreed_to() -> None:
    """The cap itself may be spent."""
    assert agree(entry(), cap=Decimal("1.75")).price == Decimal("1.75")


def test_no_cap_still_holds_the_header_to_the_quote() -> None:
    """Turning the cap off does not turn off the comparison with the quote."""
    with pytest.raises(PaymentTermsError, match="more than the quoted"):
        agree(entry(amount="900000000"), cap=None)


def test_test_money_is_agreed_to_only_on_the_test_chain() -> None:
    """Good terms of the test chain are good there."""
    test = entry(
        network=BASE_SEPOLIA.network,
        asset=BASE_SEPOLIA.usdc,
        extra={"name": "USDC", "version": "2"},
    )
    body = requested(chain_id="84532", token_address=BASE_SEPOLIA.usdc)

    assert agree(test, body=body, chain=BASE_SEPOLIA).chain is BASE_SEPOLIA


def test_the_good_entry_among_several_is_chosen() -> None:
    """Of several entries the one that passes is paid, wherever it stands."""
    terms = agree(entry(scheme="upto"), entry(asset=STRANGER), entry(), entry(amount="1"))

    assert terms.accepted == entry()


def test_every_fault_of_every_entry_is_listed() -> None:
    """When no entry passes, the error names what is wrong with each."""
    with pytest.raises(PaymentTermsError) as refused:
        agree(entry(scheme="upto"), entry(network="eip155:1"))

    assert "scheme" in str(refused.value)
    assert "chain is not eip155:8453" in str(refused.value)


def _encoded(terms: object) -> str:
    return base64.b64encode(json.dumps(terms).encode()).decode()


UNREADABLE: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "not base64": "!!!not base64!!!",
    "base64 of nonsense": base64.b64encode(b"\xff\xfe nonsense").decode(),
    "cut off": header(entry())[:-9],
    "plain JSON": json.dumps({"x402Version": 2, "accepts": [entry()]}),
    "a list": _encoded([entry()]),
    "null": _encoded(None),
    "deep nesting": base64.b64encode(b"[" * 100_000).decode(),
    "version 1": header(entry(), x402Version=1),
    "version in words": header(entry(), x402Version="2"),
    "no version": _encoded({"accepts": [entry()]}),
    "no accepts": _encoded({"x402Version": 2}),
    "empty accepts": header(),
    "accepts as an object": header(accepts={"0": entry()}),
    "junk among accepts": header(entry(), "exact"),
    "null among accepts": header(entry(), None),
    "not ASCII": "café",
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_header_is_an_error_and_never_a_default(value: str | None) -> None:
    """A header that is missing or is not x402 version 2 is refused; nothing stands in for it."""
    with pytest.raises(PaymentTermsError, match="nothing was signed"):
        payment.read_required(value, {"payment_request": requested()})


@given(seconds=st.integers(min_value=1, max_value=10**12), now=st.floats(1e9, 4e9))
def test_authorization_lives_ten_minutes_at_the_longest(seconds: int, now: float) -> None:
    """However long the service allows, a signed payment can't be charged after 600 seconds."""
    terms = agree(entry(maxTimeoutSeconds=seconds))
    transfer = payment.authorize(terms, STRANGER, now)

    assert 0 < transfer.valid_before - int(now) <= min(seconds, 600)


def test_every_authorization_has_its_own_nonce() -> None:
    """Two payments on the same terms are two nonces: each charges once, and only itself."""
    terms = agree(entry())

    assert len({payment.authorize(terms, STRANGER, 1e9).nonce for _ in range(50)}) == 50


CHECKED = ("scheme", "network", "asset", "payTo", "maxTimeoutSeconds", "amount", "extra")
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _still_agreed(name: str, value: object) -> bool:
    """Whether a changed term is, after all, what was agreed: said again, independently."""
    match name, value:
        case "payTo" | "asset", str() as address:
            return address.lower() == str(entry()[name]).lower()
        case "maxTimeoutSeconds", int() as seconds:
            return not isinstance(value, bool) and seconds > 0
        case "amount", str() as amount if amount.isascii() and amount.isdigit():
            return amount == str(int(amount)) and int(amount) <= 1_750_000
        case "extra", {"name": "USD Coin", "version": "2"}:
            return True
    return bool(value == entry()[name])


@given(name=st.sampled_from(CHECKED), value=JUNK)
def test_no_change_of_a_checked_term_is_agreed_to(name: str, value: object) -> None:
    """Whatever stands in the place of a checked term, it is refused unless it is as agreed."""
    try:
        agree(entry(**{name: value}))
    except PaymentTermsError:
        assert not _still_agreed(name, value)
    else:
        assert _still_agreed(name, value)


@given(
    name=st.sampled_from(("recipient", "token_address", "chain_id")),
    value=JUNK.filter(lambda v: str(v) not in {PAYEE, BASE.usdc, "8453"}),
)
def test_no_change_of_the_body_is_agreed_to(name: str, value: object) -> None:
    """Whatever the body says instead of payee, token or chain refuses the payment."""
    with pytest.raises(PaymentTermsError):
        agree(entry(), body=requested(**{name: value}))


@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_header_never_changes_what_is_paid(at: int, bit: int) -> None:
    """A header with one bit flipped is refused, or leads to the same payment as before."""
    good = header(entry())
    raw = bytearray(base64.b64decode(good))
    raw[at % len(raw)] ^= 1 << bit
    body = {"payment_request": requested()}
    try:
        required = payment.read_required(base64.b64encode(bytes(raw)).decode(), body)
        terms = payment.agree(required, QUOTE, BASE, CAP)
    except PaymentTermsError:
        return
    assert (terms.pay_to.lower(), terms.chain) == (PAYEE, BASE)
    assert terms.amount <= 1_750_000


@given(garbage=st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_garbage_is_refused_and_never_crashes(garbage: str) -> None:
    """Any text in the header's place is a `PaymentTermsError`."""
    with pytest.raises(PaymentTermsError):
        payment.read_required(garbage, {"payment_request": requested()})


def test_what_is_sent_echoes_the_terms_as_received() -> None:
    """Fields of the chosen entry that nobody here knows go back as they came."""
    strange = entry(extra={"name": "USD Coin", "version": "2", "facilitator": "f1"}, memo="x")
    required = payment.read_required(
        header(strange, extensions={"sign-in": 1}), {"payment_request": requested()}
    )
    terms = payment.agree(required, QUOTE, BASE, CAP)
    transfer = payment.authorize(terms, STRANGER, 1e9)
    sent = json.loads(base64.b64decode(payment.payment_header(terms, transfer, "0x00")))

    assert sent["accepted"] == strange
    assert (sent["extensions"], sent["resource"]) == ({"sign-in": 1}, {"url": "https://x"})
    assert all(isinstance(value, str) for value in sent["payload"]["authorization"].values())


def test_what_was_not_received_is_not_sent() -> None:
    """Without extensions in the terms there are none in the payment."""
    required = payment.read_required(
        _encoded({"x402Version": 2, "accepts": [entry()]}), {"payment_request": requested()}
    )
    terms = payment.agree(required, QUOTE, BASE, CAP)
    sent = json.loads(base64.b64decode(payment.credits_header(terms, STRANGER)))

    assert set(sent) == {"x402Version", "accepted", "payload"}


def test_credits_need_no_signature() -> None:
    """When credits cover all, the payment is a stub: no signature, no value, a zero nonce."""
    header_sent = payment.credits_header(agree(entry(amount="0")), STRANGER)
    payload = json.loads(base64.b64decode(header_sent))["payload"]

    assert payload["signature"] == "0x"
    assert payload["authorization"]["nonce"] == "0x" + "00" * 32
    assert {payload["authorization"][n] for n in ("value", "validAfter", "validBefore")} == {"0"}
    assert not payment.is_signed(header_sent)


def test_checking_changes_nothing_that_was_received() -> None:
    """The received terms are the same after they were checked."""
    received = entry()
    before = copy.deepcopy(received)
    agree(received)

    assert received == before
