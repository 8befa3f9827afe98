"""How many tokens a model reads for the same call: our text beside the official tool's JSON.

    python benchmarks/tokens.py

Each call is placed once, by the official tool on the sandbox; what it hands to the model is
counted, and so is the text that our tool makes of the same result. Needs `bpe-openai`, which has
the vocabularies in it: nothing is downloaded. Exits with 1 when a promise is broken: never more
than the official tool, and at most 40 % of it for a call of ten minutes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator

from langchain_oneshot_voice.oneshot.results import read_result
from langchain_oneshot_voice.sandbox import MAGIC_NUMBERS, CallScript, Sandbox
from langchain_oneshot_voice.wording import text_for_model

OBJECTIVE = "Book a table for 2 tonight at 7pm under the name Rivera."
FAILS = "+14155550106"  # the official tool has no result of a failed call, only an exception
VOCABULARIES = ("o200k_base", "cl100k_base")
AT_MOST_FOR_TEN_MINUTES = 0.40

EXCHANGES = (
    ("May I ask whether the terrace is heated in the evening?", "It is, we have lamps there."),
    ("One guest is allergic to nuts. Can the kitchen work around that?", "Let me ask the chef."),
    ("Thank you, I'll hold.", "He says most of the menu is fine, just not the desserts."),
    ("Is there parking nearby?", "There is a garage around the corner, on the left-hand side."),
    ("Until when is the kitchen open?", "Until ten, and the bar until midnight."),
    ("Could we bring a cake for a birthday?", "Sure, we charge a small fee for the plates."),
    ("How late could we arrive?", "We hold the table for fifteen minutes, not longer, sorry."),
    ("Do you need a card to hold it?", "Not for two people. Only from a party of six."),
)


def conversation(minutes: int) -> str:
    """A transcript at the pace of a real call: about 150 words a minute, both sides together."""
    lines = [f"AI: Hello, this is an AI assistant. {OBJECTIVE}"]
    said = 0
    while said < 150 * minutes - 40:
        ask, answer = EXCHANGES[len(lines) // 2 % len(EXCHANGES)]
        lines += [f"AI: {ask}", f"User: {answer}"]
        said += len(f"{ask} {answer}".split())
    end = "All set for two at seven. Your confirmation number is R-4821."
    return "\n".join([*lines, f"User: {end}", "AI: Thank you, that is R-4821. Goodbye."])


def in_spanish(transcript: str) -> str:
    """The same with the accents that another language has: JSON escapes each of them."""
    return transcript.translate(str.maketrans("aeioun", "áéíóúñ"))


def outcomes() -> Iterator[tuple[str, CallScript]]:
    """What to call it, and what happens on the phone."""
    yield "somebody helps (1.5 min)", CallScript()
    bare = CallScript(
        transcript=None, summary=None, structured_data=None, recording_url=None, ended_reason=None
    )
    yield "next to nothing is known", bare
    for minutes in (2, 3, 5, 10, 30):
        said = conversation(minutes)
        script = CallScript(transcript=said, duration_seconds=minutes * 60 - 12)
        yield f"a call of {minutes} minutes", script
    for answer, what in (("Yes.", "one-word answers"), ("Yes, that is right.", "short answers")):
        said = "\n".join([f"AI: Is it?\nUser: {answer}"] * 90)
        yield what, CallScript(transcript=said, duration_seconds=300)
    several = "\n".join(f"AI: And you?\nUser {n % 4 + 1}: Fine with me." for n in range(40))
    yield "a conference of four", CallScript(transcript=several)
    accents = CallScript(transcript=in_spanish(conversation(2)), duration_seconds=108)
    yield "2 minutes, accented letters", accents


async def official_texts() -> list[tuple[str, str]]:
    """What the official tool hands to the model, for each outcome."""
    from langchain_oneshot.tools.voice import VoiceTool
    from oneshot import OneShotClient

    with Sandbox(call_seconds=0.01, balance=10_000) as sandbox:
        client = OneShotClient(private_key=sandbox.private_key, base_url=sandbox.base_url)
        tool = VoiceTool(client=client)

        async def call(what: str, number: str) -> tuple[str, str]:
            asked = {"objective": OBJECTIVE, "target_number": number, "max_duration_minutes": 30}
            return what, await tool.ainvoke(asked)

        calls = [call(what, number) for number, what in MAGIC_NUMBERS.items() if number != FAILS]
        for last_digits, (what, script) in enumerate(outcomes(), start=10):
            sandbox.expect(number := f"+141555501{last_digits}", script)
            calls.append(call(what, number))
        return await asyncio.gather(*calls)


def our_text(official: str) -> str:
    """What our tool makes of the same result."""
    result = json.loads(official)
    job = {"status": "completed", "result": result}
    return text_for_model(read_result(job, request_id=result["request_id"]))


def main() -> int:
    from bpe_openai import get_encoding

    counters: list[Callable[[str], list[int]]] = [get_encoding(v).encode for v in VOCABULARIES]
    print(f"{'':34}" + "".join(f"{vocabulary:>30}" for vocabulary in VOCABULARIES))
    print(f"{'tokens that the model reads':34}" + f"{'official':>14}{'ours':>8}{'ratio':>8}" * 2)
    broken = []
    for what, official in asyncio.run(official_texts()):
        ours = our_text(official)
        counts = [(len(count(official)), len(count(ours))) for count in counters]
        print(f"{what:34.34}" + "".join(f"{a:14}{b:8}{b / a:8.2f}" for a, b in counts))
        most = AT_MOST_FOR_TEN_MINUTES if "10 minutes" in what else 1.0
        broken += [what for a, b in counts if b > most * a]
        broken += [what for fact in facts(official) if fact not in ours]
    print(f"promises broken: {', '.join(dict.fromkeys(broken)) or 'none'}")
    return bool(broken)


def facts(official: str) -> list[str]:
    """What an agent can't do without: it has to be in our text, word for word."""
    result = json.loads(official)
    noted = result.get("structured_data") or {}
    known = [result["request_id"], result["summary"], result["recording_url"], result["cost"]]
    known += [noted.get("confirmation_number"), result["ended_reason"]]
    return [str(fact) for fact in known if fact]


if __name__ == "__main__":
    sys.exit(main())
