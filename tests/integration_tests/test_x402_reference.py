from __future__ import annotations

import httpx
from eth_account import Account
from plain_client import BODY, PlainClient, quote_id_of
from x402.client import x402Client
from x402.http.x402_http_client import x402HTTPClient
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner

from langchain_oneshot_voice.sandbox import Sandbox


async def test_the_reference_client_pays_the_sandbox() -> None:
    """What the x402 reference implementation signs for our 402 is what our verifier accepts."""
    with Sandbox(call_seconds=0) as sandbox:
        plain = PlainClient(sandbox.base_url, sandbox.private_key)
        reference = x402Client()
        reference.set_spend_controls(False)
        account = Account.from_key(sandbox.private_key)
        register_exact_evm_client(reference, EthAccountSigner(account))
        http = x402HTTPClient(reference)
        quoted = plain.quote()
        terms = http.get_payment_required_response(quoted.headers.get, quoted.json())
        payload = await http.create_payment_payload(terms)
        paid = http.encode_payment_signature_header(payload)
        async with httpx.AsyncClient(base_url=sandbox.base_url) as client:
            answer = await client.post(
                "/v1/tools/voice/call",
                json=BODY,
                headers={
                    **plain.headers(),
                    **paid,
                    "x-quote-id": quote_id_of(quoted),
                },
            )
        assert answer.status_code == 202, answer.text
        assert [payment.payer for payment in sandbox.payments] == [sandbox.address]
