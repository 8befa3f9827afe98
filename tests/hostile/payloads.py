"""Bodies that are dangerous to read. The slow part of each bomb is made once."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Literal

MEGABYTE = 2**20
LONGEST_BODY = 4 * MEGABYTE
DEEPEST = 64
LONGEST_HEADER = 8 * 1024
LONGEST_INTEGER = 100
BOMB = 200
"""Megabytes that a bomb becomes: more than a process may grow by."""


@cache
def _spaces(megabytes: int) -> tuple[bytes, int, int]:
    """So many megabytes of spaces, deflated, and their two check sums."""
    packer, block = zlib.compressobj(9, wbits=-15), b" " * MEGABYTE
    # After a full flush the packer starts anew: the same block packs to the same bytes again.
    packed = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * megabytes
    crc, adler = 0, 1
    for _ in range(megabytes):
        crc, adler = zlib.crc32(block, crc), zlib.adler32(block, adler)
    return packed, crc, adler


def bomb(kind: Literal["gzip", "deflate", "raw"], megabytes: int, text: bytes) -> bytes:
    """That many megabytes of spaces and then a text, compressed a thousand times smaller.

    `gzip` and `deflate` are content encodings, `raw` is what a compressed socket message holds.
    """
    spaces, crc, adler = _spaces(megabytes)
    packer = zlib.compressobj(9, wbits=-15)
    last = zlib.Z_SYNC_FLUSH if kind == "raw" else zlib.Z_FINISH
    packed = spaces + packer.compress(text) + packer.flush(last)
    match kind:
        case "raw":
            return packed.removesuffix(b"\x00\x00\xff\xff")
        case "gzip":
            size = megabytes * MEGABYTE + len(text)
            head = b"\x1f\x8b\x08" + b"\0" * 6 + b"\xff"
            return head + packed + struct.pack("<II", zlib.crc32(text, crc), size % 2**32)
        case "deflate":
            return b"\x78\xda" + packed + struct.pack(">I", zlib.adler32(text, adler))


def nested(levels: int, inside: str = "1") -> str:
    """Lists in lists."""
    return "[" * levels + inside + "]" * levels


def objects(levels: int) -> str:
    """Objects in objects."""
    return '{"a":' * levels + "1" + "}" * levels


def unterminated(size: int) -> bytes:
    """JSON whose string has a quotation mark wherever a reader might start anew, and no end."""
    return b'{"status": "' + b'\\"' * (size // 2)


def padded(start: bytes, size: int) -> bytes:
    """JSON that is `size` bytes long because of the spaces behind it."""
    return start + b" " * (size - len(start))


def cut_transcripts(pieces: int) -> Iterator[tuple[str, str]]:
    """Transcripts that were cut in transit, or that have many readings; each with a name.

    The more pieces, the longer are those whose reading takes time with every piece.
    """
    yield "json-string", '[{"role": "assistant", "content": "' + 'hello \\" ' * 40_000
    yield "json-list", '[{"role": "assistant", "content": "hello"}, ' * (2 * pieces // 5)
    yield "brackets", "[" * 100_000
    yield "braces", '{"a":' * 100_000
    yield "label-and-spaces", "AI" + " " * 40_000 + "x"
    yield "label-in-many-parts", "AI " * 40_000
    yield "spaces", " " * 300_000 + "x"
    yield "time-and-spaces", "0:00" + " " * 40_000 + "x"
    yield "two-times", "0:00 --> " * (3 * pieces // 5)
    yield "open-parenthesis", "AI (" + " " * 40_000 + "("
    yield "stars", "**" * 40_000 + " AI :"
    yield "one-long-turn", "User: " + "please do not ever " * (2 * pieces // 5)
    yield "opt-outs", "User: " + "don't call me, stop, remove " * (2 * pieces // 5)
    yield "many-short-lines", "\n".join(["a"] * (2 * pieces))
    yield "many-labels", "AI: a\n" * (2 * pieces)
