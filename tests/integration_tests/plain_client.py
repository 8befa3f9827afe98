"""A client of the sandbox that is written from the contract alone: httpx, and eth-account to sign.

It shares no code with the package, so that what it and the sandbox agree on is the contract.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_typed_data

CALL = "/v1/tools/voice/call"
BODY = {
    "objective": "Call the restaurant to make a dinner reservation for 2 people at 7pm tonight",
    "target_number": "+14155551234",
}


def encode(value: object) -> str:
    """JSON in base64, as every signed header is."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def decode(header: str) -> Any:
    """The JSON in a base64 header."""
    return json.loads(base64.b64decode(header))


class PlainClient:
    """One wallet, or one access token, and a connection of its own for each request."""

    def __init__(self, base_url: str, key: str | None = None, *, token: str | None = None) -> None:
        self.base_url = base_url
        self._account = Account.from_key(key or "0x" + secrets.token_hex(32))
        self._token = token

    @property
    def address(self) -> str:
        """The wallet's address."""
        return str(self._account.address)

    def headers(self, scope: str | None = None, **more: str) -> dict[str, str]:
        """The headers of a request; with a proof of `scope`, when there is one to give."""
        if self._token is not None:
            return {"authorization": f"Bearer {self._token}", **more}
        proof = {"x-agent-proof": self.proof(scope)} if scope else {}
        return {"x-agent-id": self.address, **proof, **more}

    def proof(self, scope: str, **over: Any) -> str:
        """A signed `x-agent-proof`; fields in `over` replace the right ones before signing."""
        message = {
            "agent": self.address,
            "scope": scope,
            "issuedAt": int(time.time()),
            "nonce": "0x" + secrets.token_hex(32),
            **over,
        }
        types = {
            "AgentReadAuth": [
                {"name": "agent", "type": "address"},
                {"name": "scope", "type": "string"},
                {"name": "issuedAt", "type": "uint256"},
                {"name": "nonce", "type": "bytes32"},
            ]
        }
        domain = {"name": "OneShot Agent Auth", "version": "1"}
        return encode({**message, "signature": self._sign(domain, types, message)})

    def payment(
        self,
        terms: dict[str, Any],
        *,
        accepted: dict[str, Any] | None = None,
        domain: dict[str, Any] | None = None,
        **over: Any,
    ) -> str:
        """A `payment-signature` for these terms; `over` replaces fields before signing."""
        now = int(time.time())
        authorization = {
            "from": self.address,
            "to": terms["payTo"],
            "value": terms["amount"],
            "validAfter": str(now - 60),
            "validBefore": str(now + terms["maxTimeoutSeconds"]),
            "nonce": "0x" + secrets.token_hex(32),
            **over,
        }
        uint = {"value", "validAfter", "validBefore"}
        message = {k: int(v) if k in uint else v for k, v in authorization.items()}
        types = {
            "TransferWithAuthorization": [
                {"name": "from", "type": "address"},
                {"name": "to", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "validAfter", "type": "uint256"},
                {"name": "validBefore", "type": "uint256"},
                {"name": "nonce", "type": "bytes32"},
            ]
        }
        right = {
            "name": terms["extra"]["name"],
            "version": terms["extra"]["version"],
            "chainId": int(terms["network"].split(":")[1]),
            "verifyingContract": terms["asset"],
        }
        signature = self._sign({**right, **(domain or {})}, types, message)
        return encode(
            {
                "x402Version": 2,
                "accepted": accepted or terms,
                "payload": {"signature": signature, "authorization": authorization},
            }
        )

    def stub(self, terms: dict[str, Any]) -> str:
        """The unsigned stand-in for a payment that credits cover."""
        authorization = {
            "from": self.address,
            "to": terms["payTo"],
            "value": "0",
            "validAfter": "0",
            "validBefore": "0",
            "nonce": "0x" + "00" * 32,
        }
        payload = {"signature": "0x", "authorization": authorization}
        return encode({"x402Version": 2, "accepted": terms, "payload": payload})

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a fresh connection."""
        # Without TLS there is nothing to verify, and reading the authorities takes 20 ms.
        with httpx.Client(base_url=self.base_url, timeout=10, verify=False) as http:  # noqa: S501
            return http.request(method, path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET with a proof of scope `read`."""
        return self.request("GET", path, headers=self.headers("read"), **options)

    def quote(
        self, body: Any = None, *, scope: str | None = "write", **headers: str
    ) -> httpx.Response:
        """Leg 1."""
        return self.request("POST", CALL, json=body or BODY, headers=self.headers(scope, **headers))

    def pay(
        self, quoted: httpx.Response, payment: str | None = None, body: Any = None, **headers: str
    ) -> httpx.Response:
        """Leg 2, with a right payment unless another is given."""
        if payment is None and self._token is None:
            payment = self.payment(terms_of(quoted))
        paid = {"payment-signature": payment} if payment else {}
        sent = self.headers(None, **{"x-quote-id": quote_id_of(quoted), **paid, **headers})
        return self.request("POST", CALL, json=body or BODY, headers=sent)

    def call(self, body: Any = None) -> str:
        """Both legs; returns the call's id."""
        answer = self.pay(self.quote(body), body=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["request_id"])

    def job(self, request_id: str) -> dict[str, Any]:
        """How a call stands."""
        answer = self.get(f"/v1/requests/{request_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def result(self, request_id: str, seconds: float = 5.0) -> dict[str, Any]:
        """The job, once it is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.job(request_id)
            if job["status"] not in ("pending", "processing"):
                return job
            time.sleep(0.01)
        raise TimeoutError(request_id)

    def _sign(self, domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any]) -> str:
        signable = encode_typed_data(domain, types, message)
        signature: bytes = self._account.sign_message(signable).signature
        return "0x" + bytes(signature).hex()


def terms_of(quoted: httpx.Response) -> dict[str, Any]:
    """The one entry of `accepts` in a 402's header."""
    terms: dict[str, Any] = decode(quoted.headers["payment-required"])["accepts"][0]
    return terms


def quote_id_of(quoted: httpx.Response) -> str:
    """The quote's id in a 402's body."""
    return str(quoted.json()["context"]["quote_id"])
