"""The result socket: silent, lying, flooding, too large; the poll is asked all the same."""

from __future__ import annotations

import json

from hostile import deeds, payloads
from hostile.attack import Attack, Deed, ends, header, says
from hostile.caller_process import Outcome
from hostile.frames import Socket, accepted, deflated, one_message, repeated
from hostile.service import HostileService
from hostile.trials import LONG, Withstand

pytestmark = LONG

_RESULT = {"status": "completed", "outcome": "reached_person", "transcript": "AI: the wrong call"}


def _told_by_the_poll(outcome: Outcome) -> None:
    assert "wrong call" not in outcome.text
    assert outcome.artifact["call_successful"] == "success"


async def _processing(socket: Socket) -> None:
    await socket.say("processing")


_OF_ANOTHER = json.dumps(
    {
        "request_id": "req_of_another",
        "status": "failed",
        "error": "the wrong call",
        "result": _RESULT,
    }
).encode()


async def _of_another(socket: Socket) -> None:
    await socket.send(_OF_ANOTHER)


async def _of_nobody(socket: Socket) -> None:
    await socket.send({"status": "failed", "error": "the wrong call"})


async def _pieces(socket: Socket) -> None:
    await socket.send_piece(b'{"pad": "', first=True)
    while True:
        await socket.send_piece(b"x" * 2**16, first=False)


async def _pings(socket: Socket) -> None:
    await socket.ping()


async def _bomb(socket: Socket) -> None:
    await socket.send_compressed(payloads.bomb("raw", payloads.BOMB, b'{"status": "failed"}'))


async def _compressed(socket: Socket) -> None:
    await socket.send_compressed(deflated(b'{"status": "failed", "request_id": "other"}'))


def _of_10_mb(socket: Socket) -> object:
    return {
        "request_id": socket.request_id,
        "status": "failed",
        "error": "the wrong call " * 700_000,
    }


def _just_over(socket: Socket) -> object:
    pad = "x" * payloads.LONGEST_BODY
    return {
        "request_id": socket.request_id,
        "status": "failed",
        "error": "the wrong call",
        "pad": pad,
    }


def _deep(levels: int) -> bytes:
    return b'{"request_id": "req_1", "status": "failed", "error": "the wrong call", "pad": %s}' % (
        payloads.nested(levels).encode()
    )


def _number(digits: int) -> bytes:
    return b'{"request_id": "req_1", "status": "failed", "error": "the wrong call", "pad": %s}' % (
        b"9" * digits
    )


_DEEDS: dict[str, Deed] = {
    "silent": accepted(one_message(b" ")),
    "silent-from-the-start": deeds.stay_silent,
    "closed-at-once": accepted(one_message(b" "), then_close=True),
    "closed-at-the-handshake": deeds.close,
    "reset-at-the-handshake": deeds.reset,
    "garbage-for-a-handshake": deeds.garbage,
    "drip-of-a-handshake": deeds.drip_header,
    "garbage-for-frames": accepted(lambda socket: socket.send_frame(0x0F, b"\xff" * 100)),
    "no-utf-8": accepted(one_message(b"\xff\xfe\x00")),
    "for-another": accepted(repeated(_of_another, 0.02)),
    "for-nobody": accepted(repeated(_of_nobody, 0.02)),
    "a-thousand-a-second": accepted(repeated(_of_another, 0.001)),
    "pings-without-end": accepted(repeated(_pings, 0.0005)),
    "65-levels": accepted(one_message(_deep(payloads.DEEPEST + 1))),
    "100000-levels": accepted(one_message(_deep(100_000))),
    "integer-of-5000-digits": accepted(one_message(_number(5_000))),
    "integer-of-101-digits": accepted(one_message(_number(payloads.LONGEST_INTEGER + 1))),
    "unterminated-400-kb": accepted(one_message(payloads.unterminated(400_000))),
    "list": accepted(one_message(b'["req_1", {"status": "failed"}]')),
    "status-a-list": accepted(one_message(b'{"request_id": "req_1", "status": ["failed"]}')),
    "id-a-list": accepted(one_message(b'{"request_id": ["req_1"], "status": "failed"}')),
    "result-a-list": accepted(
        one_message(b'{"request_id": "req_1", "status": "completed", "result": []}')
    ),
    "surrogate": accepted(one_message(b'{"request_id": "\\ud800", "status": "\\ud800"}')),
    "utf-16": accepted(one_message('{"request_id": "req_1"}'.encode("utf-16"))),
    "compressed-for-another": accepted(_compressed, compression=True),
    "compressed-unasked": accepted(_compressed),
}
SMALL = [
    Attack(name=name, leg="socket", deed=deed, holds=_told_by_the_poll)
    for name, deed in _DEEDS.items()
] + [
    Attack(name="header-of-200-kb", leg="socket", change=header("x-pad", "x" * 200_000)),
    Attack(name="500", leg="socket", change=says(500, {"error": "internal_error"})),
]
LARGE = [
    Attack(name=name, leg="socket", deed=deed, holds=_told_by_the_poll)
    for name, deed in {
        "10-mb": accepted(one_message(_of_10_mb)),
        "10-mb-again-and-again": accepted(repeated(lambda s: s.send(_of_10_mb(s)), 0.01)),
        "over-4-mib": accepted(one_message(_just_over)),
        "pieces-without-end": accepted(_pieces),
        "bomb": accepted(_bomb, compression=True),
        "flood": accepted(repeated(_of_another)),
    }.items()
]
STARVING = [
    Attack(
        name=name,
        leg="socket",
        deed=deed,
        unready=1,
    )
    for name, deed in {
        "processing-for-ever": accepted(repeated(_processing, 0.1)),
        "a-thousand-processings-a-second": accepted(repeated(_processing, 0.001)),
    }.items()
]
STARVED = [
    Attack(
        name="processing-until-the-wait-is-over",
        leg="socket",
        deed=accepted(repeated(_processing, 0.001)),
        max_wait=1.0,
        ends=ends("in_progress", "completed"),
    )
]


def _one_socket(service: HostileService) -> None:
    assert service.count("socket") == 1


KEPT = [
    Attack(
        name="kept-for-the-next-call",
        leg="socket",
        deed=accepted(one_message(b" ")),
        unready=1,
        calls=2,
        seen=_one_socket,
    )
]


def test_socket(withstand: Withstand) -> None:
    """Whatever the socket says, or does not say, the outcome is what the poll tells."""
    withstand([*SMALL, *LARGE, *STARVED])


def test_poll_is_not_starved(withstand: Withstand) -> None:
    """A socket that tells of no end, as often as it likes, does not keep the poll from asking."""
    withstand(STARVING)


def test_one_socket(withstand: Withstand) -> None:
    """Calls that follow each other share one socket."""
    withstand(KEPT)
