"""The reference x402 implementation accepts the payment that our client sends."""

from __future__ import annotations

from conftest import MakeTool
from placing import signatures, tool_call
from x402.http.utils import decode_payment_signature_header
from x402.mechanisms.evm.eip712 import hash_eip3009_authorization
from x402.mechanisms.evm.types import ExactEIP3009Payload
from x402.mechanisms.evm.utils import get_evm_chain_id, hex_to_bytes
from x402.mechanisms.evm.verify import verify_eoa_signature
from x402.schemas import PaymentPayload

from langchain_oneshot_voice import Sandbox


def sent_payment(make_tool: MakeTool, sandbox: Sandbox) -> PaymentPayload:
    """What our client sent, read by the reference implementation."""
    make_tool().invoke(tool_call())
    payload = decode_payment_signature_header(signatures(sandbox)[0])
    assert isinstance(payload, PaymentPayload)
    return payload


def recovers(payload: PaymentPayload, *, value: str | None = None) -> bool:
    """Whether the reference implementation finds the payer's signature over the terms."""
    exact = ExactEIP3009Payload.from_dict(payload.payload)
    assert exact.signature is not None
    if value is not None:
        exact.authorization.value = value
    extra = payload.accepted.extra
    digest = hash_eip3009_authorization(
        exact.authorization,
        get_evm_chain_id(payload.accepted.network),
        payload.accepted.asset,
        extra["name"],
        extra["version"],
    )
    payer = exact.authorization.from_address
    return verify_eoa_signature(digest, hex_to_bytes(exact.signature), payer)


def test_reference_accepts_our_signature(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The signature that we sent is the payer's, by the reference's own hashing and recovery."""
    payload = sent_payment(make_tool, sandbox)

    assert recovers(payload)
    assert payload.payload["authorization"]["from"] == sandbox.address


def test_reference_refuses_our_signature_for_another_amount(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The acceptance means something: one atomic unit more, and it is refused."""
    assert not recovers(sent_payment(make_tool, sandbox), value="6750001")


def test_reference_reads_our_terms(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The header is a version 2 payment whose authorization is for exactly the accepted terms."""
    payload = sent_payment(make_tool, sandbox)
    authorization = payload.payload["authorization"]

    assert payload.x402_version == 2
    assert (payload.accepted.scheme, payload.accepted.network) == ("exact", "eip155:84532")
    assert authorization["to"] == payload.accepted.pay_to == sandbox.payee
    assert authorization["value"] == payload.accepted.amount == "6750000"
