from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from plain_client import BODY, CALL, PlainClient, decode, encode, terms_of
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidMessage,
    InvalidStatus,
)
from websockets.sync.client import ClientConnection, connect

from langchain_oneshot_voice.sandbox import Fault, Sandbox

PATIENCE = 0.3


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service of this test's own."""
    with Sandbox(call_seconds=0.05) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> PlainClient:
    """The wallet with money."""
    return PlainClient(sandbox.base_url, sandbox.private_key)


def paid_bytes(client: PlainClient) -> bytes:
    """A whole paid request, as it goes over the wire."""
    quoted = client.quote()
    headers = client.headers(
        None,
        **{
            "x-quote-id": quoted.json()["context"]["quote_id"],
            "payment-signature": client.payment(terms_of(quoted)),
            "host": "sandbox",
            "content-type": "application/json",
        },
    )
    body = json.dumps(BODY).encode()
    headers["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {CALL} HTTP/1.1\r\n{head}\r\n".encode() + body


def raw_answer(sandbox: Sandbox, request: bytes) -> bytes:
    """Everything that comes back on a plain socket until it is closed politely."""
    address = ("127.0.0.1", int(sandbox.base_url.rsplit(":", 1)[1]))
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def subscribe(sandbox: Sandbox, client: PlainClient) -> ClientConnection:
    """An open socket of the client's wallet."""
    url = sandbox.base_url.replace("http", "ws")
    return connect(f"{url}/v1/requests/subscribe?wallet={client.address}")


@pytest.mark.parametrize(
    ("kind", "acted"), [("refuse", False), ("reset_before", False), ("reset_after", True)]
)
def test_resets_are_tcp_resets(
    sandbox: Sandbox, client: PlainClient, kind: Any, *, acted: bool
) -> None:
    """The connection is reset, not closed; the phone has rung only where the fault says so."""
    request = paid_bytes(client)
    sandbox.inject(Fault(leg="paid", kind=kind))
    with pytest.raises(ConnectionResetError):
        raw_answer(sandbox, request)
    assert bool(sandbox.rings) is acted
    assert (sandbox.requests[-1].fault, sandbox.requests[-1].status) == (kind, None)


def test_a_dropped_reply_is_a_clean_close_after_acting(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """The money is taken, the phone rings, and the connection ends without a byte."""
    request = paid_bytes(client)
    sandbox.inject(Fault(leg="paid", kind="drop_reply"))
    assert raw_answer(sandbox, request) == b""
    assert (len(sandbox.rings), len(sandbox.payments)) == (1, 1)


def test_a_truncated_reply_promises_more_than_it_brings(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """The head is whole, half of the body comes, then the connection is closed."""
    request = paid_bytes(client)
    sandbox.inject(Fault(leg="paid", kind="truncate"))
    head, _, body = raw_answer(sandbox, request).partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert head.startswith(b"HTTP/1.1 202")
    assert len(body) == length // 2
    assert len(sandbox.rings) == 1


@pytest.mark.parametrize(("kind", "rings"), [("hang_before", 0), ("hang_after", 1)])
def test_a_hanging_server_never_answers(
    sandbox: Sandbox, client: PlainClient, kind: Any, rings: int
) -> None:
    """No byte comes until the client gives up; the phone has rung only where the fault says so."""
    request = paid_bytes(client)
    sandbox.inject(Fault(leg="paid", kind=kind))
    address = ("127.0.0.1", int(sandbox.base_url.rsplit(":", 1)[1]))
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(request)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert len(sandbox.rings) == rings


def test_a_hanging_request_does_not_keep_the_sandbox_from_stopping() -> None:
    """Stopping ends even a request that is never answered."""
    with Sandbox() as sandbox:
        hung = PlainClient(sandbox.base_url)
        sandbox.inject(Fault(leg="quote", kind="hang_before"))
        errors: list[Exception] = []

        def ask() -> None:
            try:
                hung.quote()
            except httpx.TransportError as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        sandbox.wait_until(lambda: len(sandbox.requests) == 1)
        sandbox.stop()
        asking.join(timeout=5)
    assert not asking.is_alive()
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("status_500", 500),
        ("status_502_html", 502),
        ("status_503", 503),
        ("status_429", 429),
        ("status_404", 404),
        ("status_409", 409),
        ("html_200", 200),
        ("garbage", 202),
    ],
)
@pytest.mark.parametrize("acts", [False, True])
def test_wrong_answers_act_only_when_told_to(
    sandbox: Sandbox, client: PlainClient, kind: Any, status: int, *, acts: bool
) -> None:
    """Another answer comes in place of the right one; what was asked is done only with `acts`."""
    quoted = client.quote()
    sandbox.inject(Fault(leg="paid", kind=kind, acts=acts))
    answer = client.pay(quoted)
    assert answer.status_code == status
    assert len(sandbox.rings) == int(acts)
    assert (sandbox.requests[-1].status, sandbox.requests[-1].fault) == (status, kind)


def test_pages_and_garbage_are_no_json(sandbox: Sandbox, client: PlainClient) -> None:
    """A proxy's page says that it is HTML; garbage claims to be JSON and is not."""
    for kind in ("status_502_html", "html_200"):
        sandbox.inject(Fault(leg="quote", kind=kind))
        assert client.quote().headers["content-type"] == "text/html"
    sandbox.inject(Fault(leg="quote", kind="garbage"))
    garbage = client.quote()
    assert garbage.headers["content-type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        garbage.json()


def test_a_rate_limit_may_say_when_to_come_back(sandbox: Sandbox, client: PlainClient) -> None:
    """`retry_after` becomes the header; without it there is none."""
    sandbox.inject(Fault(leg="quote", kind="status_429", retry_after=7))
    sandbox.inject(Fault(leg="quote", kind="status_429"))
    assert client.quote().headers["retry-after"] == "7"
    assert "retry-after" not in client.quote().headers


def test_a_refused_connection_is_reset_before_a_byte_is_read(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """On `connection` the reset comes at once, and nothing reaches the log."""
    sandbox.inject(Fault(leg="connection", kind="refuse"))
    with pytest.raises(httpx.TransportError):
        client.quote()
    assert sandbox.requests == ()
    assert client.quote().status_code == 402


def test_faults_are_used_up_in_order_at_their_own_leg(
    sandbox: Sandbox, client: PlainClient
) -> None:
    """One leg's faults come one after the other, `times` each, and leave the other legs alone."""
    sandbox.inject(Fault(leg="poll", kind="status_503", times=2))
    sandbox.inject(Fault(leg="poll", kind="status_404"))
    request_id = client.call()
    seen = [client.get(f"/v1/requests/{request_id}").status_code for _ in range(4)]
    assert seen == [503, 503, 404, 200]


def test_faults_can_be_cleared(sandbox: Sandbox, client: PlainClient) -> None:
    """After `clear_faults` everything goes right."""
    sandbox.inject(Fault(leg="quote", kind="status_500", times=100))
    sandbox.tamper("quote", lambda _, headers, body: (418, headers, body))
    sandbox.clear_faults()
    assert client.quote().status_code == 402


@pytest.mark.parametrize(
    "fields",
    [
        {"leg": "paid", "kind": "reset_before", "acts": True},
        {"leg": "paid", "kind": "silent"},
        {"leg": "socket", "kind": "status_500"},
        {"leg": "connection", "kind": "status_500"},
    ],
)
def test_impossible_faults_cannot_be_made(fields: dict[str, Any]) -> None:
    """A fault that contradicts itself is refused where it is written."""
    with pytest.raises(ValueError, match=r"cannot act|socket|connection"):
        Fault(**fields)


def test_a_refused_socket_fails_its_handshake(sandbox: Sandbox, client: PlainClient) -> None:
    """The handshake is answered with the status of the fault."""
    sandbox.inject(Fault(leg="socket", kind="refuse", status=403))
    with pytest.raises(InvalidStatus) as refused:
        subscribe(sandbox, client)
    assert refused.value.response.status_code == 403


def test_a_reset_socket_has_no_handshake(sandbox: Sandbox, client: PlainClient) -> None:
    """The connection is reset before the handshake is answered."""
    sandbox.inject(Fault(leg="socket", kind="reset_before"))
    with pytest.raises(InvalidMessage):
        subscribe(sandbox, client)


def test_a_silent_socket_says_nothing(sandbox: Sandbox, client: PlainClient) -> None:
    """It is open, and no word comes."""
    request_id = client.call()
    sandbox.inject(Fault(leg="socket", kind="silent"))
    with subscribe(sandbox, client) as silent:
        silent.send(json.dumps({"subscribe": [request_id]}))
        with pytest.raises(TimeoutError):
            silent.recv(timeout=PATIENCE)
        assert client.result(request_id)["status"] == "completed"


@pytest.mark.parametrize(
    ("kind", "error"), [("close", ConnectionClosed), ("reset_after", ConnectionClosedError)]
)
def test_a_socket_may_close_once_subscribed(
    sandbox: Sandbox, client: PlainClient, kind: Any, error: type[Exception]
) -> None:
    """It closes, or is reset, at the first subscription; the next one works."""
    request_id = client.call()
    sandbox.inject(Fault(leg="socket", kind=kind))
    with subscribe(sandbox, client) as closing:
        closing.send(json.dumps({"subscribe": [request_id]}))
        with pytest.raises(error):
            closing.recv(timeout=5)
    with subscribe(sandbox, client) as working:
        working.send(json.dumps({"subscribe": [request_id]}))
        assert json.loads(working.recv(timeout=5))["request_id"] == request_id


def test_a_socket_may_talk_garbage(sandbox: Sandbox, client: PlainClient) -> None:
    """Each push is cut in half."""
    request_id = client.call()
    sandbox.inject(Fault(leg="socket", kind="garbage"))
    with subscribe(sandbox, client) as babbling:
        babbling.send(json.dumps({"subscribe": [request_id]}))
        with pytest.raises(json.JSONDecodeError):
            json.loads(babbling.recv(timeout=5))


def test_an_answer_can_be_altered(sandbox: Sandbox, client: PlainClient) -> None:
    """`tamper` changes status, headers and body of a leg, such as the payee in the terms."""

    def other_payee(
        status: int, headers: dict[str, str], body: dict[str, Any] | None
    ) -> tuple[int, Mapping[str, str], Mapping[str, Any] | None]:
        terms = decode(headers["payment-required"])
        terms["accepts"][0]["payTo"] = "0x" + "66" * 20
        return status, {**headers, "payment-required": encode(terms)}, {**(body or {}), "x": 1}

    sandbox.tamper("quote", other_payee)
    quoted = client.quote()
    assert terms_of(quoted)["payTo"] == "0x" + "66" * 20
    assert quoted.json()["x"] == 1
    assert client.pay(quoted).json()["reason"] == "terms_mismatch"


def test_a_push_can_be_altered(sandbox: Sandbox, client: PlainClient) -> None:
    """`tamper` on the socket sees and changes each push."""
    request_id = client.call()
    sandbox.tamper("socket", lambda status, headers, _: (status, headers, {"hello": "there"}))
    with subscribe(sandbox, client) as altered:
        altered.send(json.dumps({"subscribe": [request_id]}))
        assert json.loads(altered.recv(timeout=5)) == {"hello": "there"}
