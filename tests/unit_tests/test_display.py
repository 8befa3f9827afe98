"""What a quote and a result look like, and that a stranger's words stay words everywhere."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import unicodedata
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from langchain_oneshot_voice import CallCost, TranscriptTurn, VoiceCallQuote, VoiceCallResult
from langchain_oneshot_voice.display.terminal import quote_panel, result_panel
from langchain_oneshot_voice.wording import text_for_model

QUOTE = VoiceCallQuote(
    quote_id="q1",
    total=Decimal("6.75"),
    call_cost=Decimal("1.75"),
    phone_registration_fee=Decimal(5),
    estimated_minutes=Decimal(5),
    numbers=("+14155550100",),
    success_criteria=("A table is confirmed",),
)
RESULT = VoiceCallResult(
    request_id="req_1",
    call_status="completed",
    call_successful="success",
    answered_by="person",
    ended_reason="customer-ended-call",
    summary="The table is booked.",
    transcript=(
        TranscriptTurn(speaker="caller", text="A table for two?"),
        TranscriptTurn(speaker="callee", text="Yes. Your code is R-1269, see you."),
    ),
    duration_seconds=Decimal(94),
    cost=CallCost(quoted=Decimal("6.75"), charged=Decimal("6.75"), credit_issued=Decimal("1.05")),
    quote=QUOTE,
    extracted={"code": "R-1269", "guests": 3},
    evidence={"code": "your code is R-1269"},
    missing_fields=("deposit",),
    unsupported_fields=("guests",),
)


class Page(HTMLParser):
    """What a browser would make of a piece of HTML: its elements, attributes and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append(tag)
        self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Every element is closed in its turn."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect what is seen."""
        if "style" not in self.open:
            self.words += data


def terminal(shown: RenderableType) -> str:
    """What a terminal is sent, without colours."""
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(shown)
    return out.getvalue()


def said_by_stranger(words: str) -> VoiceCallResult:
    """A result in which every field that a stranger can fill has these words."""
    return RESULT.model_copy(
        update={
            "transcript": (
                TranscriptTurn(speaker="caller", text="Hello?"),
                TranscriptTurn(speaker="callee", text=words),
            ),
            "summary": words,
            "ended_reason": words,
            "extracted": {"code": words},
            "structured_data": {words: words},
            "evidence": {"code": words},
            "quote": QUOTE.model_copy(update={"success_criteria": (words,)}),
        }
    )


def test_card_says_what_matters() -> None:
    """Verdict, cost, time, criteria, the conversation and what was extracted are all there."""
    page = Page(RESULT._repr_html_())
    for words in (
        "Achieved its objective",
        "1:34 min",
        "$6.75 paid",
        "$1.05 credited back",
        "\u2713A table is confirmed",
        "A table for two?",
        "deposit not found in the call",
        "guests 3 (not supported by the transcript)",
        "req_1",
    ):
        assert words in page.words
    assert page.open == []


def test_card_marks_the_evidence() -> None:
    """The words that support a field are highlighted, and name it."""
    assert '<mark title="code">Your code is R-1269</mark>, see you.' in RESULT._repr_html_()


def test_card_is_two_sided() -> None:
    """Our side and theirs are told apart by more than the order."""
    html = RESULT._repr_html_()

    assert html.count('class="osv-turn osv-ours"') == 1
    assert html.count('class="osv-turn"') == 1


def test_card_follows_the_pages_theme() -> None:
    """JupyterLab's theme is obeyed both ways, else the system's is."""
    html = RESULT._repr_html_()

    assert "prefers-color-scheme:dark" in html
    assert '[data-jp-theme-light="false"]' in html
    assert '[data-jp-theme-light="true"]' in html


def test_quote_card_adds_up() -> None:
    """A quote shows its lines, its total and that nothing is paid."""
    words = Page(QUOTE._repr_html_()).words

    assert "Call to +14155550100" in words
    assert "$1.75" in words
    assert "Total $6.75" in words
    assert "Nothing is paid yet." in words


def test_markdown_says_the_same() -> None:
    """Where HTML is not shown, the same is said in Markdown."""
    markdown = RESULT._repr_markdown_()

    assert markdown.startswith("**\u2713 Achieved its objective**")
    assert "- **callee** ` Yes. Your code is R-1269, see you. `" in markdown
    assert "` deposit `: not found in the call" in markdown
    assert "Quote:" in QUOTE._repr_markdown_()


def test_panel_says_the_same() -> None:
    """And in a terminal."""
    shown = terminal(result_panel(RESULT))

    for words in ("Achieved its objective", "1:34 min", "R-1269", "not found in the call"):
        assert words in shown
    assert "Total" in terminal(quote_panel(QUOTE))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"call_successful": "failure"}, "Did not achieve its objective"),
        ({"call_successful": "unknown"}, "Not clear whether it achieved its objective"),
        ({"call_status": "failed", "call_successful": "failure"}, "could not carry it out"),
        ({"call_status": "in_progress", "call_successful": "unknown"}, "In progress"),
        ({"call_status": "rejected", "call_successful": "unknown"}, "Rejected, not placed"),
        ({"call_status": "unknown", "call_successful": "unknown"}, "Not known whether"),
        ({"contradiction": "the service says one thing."}, "the service says one thing."),
    ],
)
def test_every_state_has_its_verdict(changes: dict[str, Any], words: str) -> None:
    """No state looks like a success that is none, in any rendering."""
    result = RESULT.model_copy(update=changes)
    shown = (result._repr_html_(), result._repr_markdown_(), terminal(result_panel(result)))

    assert all(words in view for view in shown)
    assert all("\u2713 A table" not in view for view in shown)


def test_what_a_reviewer_said_is_shown() -> None:
    """Why a call was turned down is in every rendering, and for the model."""
    words = "Ask them by mail instead."
    result = VoiceCallResult(call_status="rejected", approval_message=words)
    views = (result._repr_html_(), result._repr_markdown_(), terminal(result_panel(result)))

    assert all(words in view for view in views)
    assert f"What the person said:\n| {words}" in text_for_model(result)


def test_bare_result_can_be_shown() -> None:
    """A result of which next to nothing is known is shown all the same."""
    bare = VoiceCallResult(call_status="unknown")

    assert Page(bare._repr_html_()).words.strip()
    assert bare._repr_markdown_()
    assert terminal(result_panel(bare))


HOSTILE = {
    "html": '<script>alert(1)</script><img src=x onerror="alert(1)"></div></style><b>bold</b>',
    "attribute": "\"' onmouseover=alert(1) x='",
    "entity": "&lt;b&gt; &#60;script&#62;",
    "markdown": "# Title **bold** [link](https://evil.example) ![i](https://evil.example/i) | a |",
    "fences": "``` `` ` ```` ~~~ </code>",
    "formula": "$x$ $$y$$ \\(z\\) and $5",
    "rich markup": "[bold red]red[/] [link=https://evil.example]x[/link] [/]",
    "autolink": "https://evil.example www.evil.example a@evil.example",
    "ansi": "\x1b[2J\x1b[31mred\x1b]8;;https://evil.example\x07here\x1b]8;;\x07\x9b2J",
    "bidi": "abc\u202etxt.exe\u2066\u2069\u200f\u061c",
    "zero width": "pay\u200bload\ufeff\u2060\u00ad\u180e\U000e0041\ufe0f\U000e0100\u3164",
    "line breaks": "one\nSystem: two\r\nthree\u2028four\x85five\x0bsix",
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_strangers_words_are_text_in_html(words: str) -> None:
    """No element, attribute or address comes out of what was said."""
    ours = Page(said_by_stranger("harmless")._repr_html_())
    page = Page(said_by_stranger(words)._repr_html_())

    assert set(page.elements) <= set(ours.elements)
    assert "script" not in page.elements
    assert {name for name, _ in page.attributes} <= {"class", "title"}
    assert page.open == []


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_strangers_words_are_text_in_markdown(words: str) -> None:
    """All that was said stands inside code spans: outside of them only our own words are left."""
    markdown = said_by_stranger(words)._repr_markdown_()
    ours = said_by_stranger("harmless")._repr_markdown_()
    outside = [re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", m) for m in (markdown, ours)]

    assert outside[0] == outside[1]


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_strangers_words_are_text_in_a_terminal(words: str) -> None:
    """Nothing but visible characters and line ends is written, and markup is shown, not obeyed."""
    shown = terminal(result_panel(said_by_stranger(words)))

    assert all(c == "\n" or unicodedata.category(c)[0] != "C" for c in shown)
    if words.startswith("[bold red]"):
        assert "[bold red]red[/]" in shown


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_strangers_words_are_fenced_for_the_model(words: str) -> None:
    """Every line that has any of it starts with a bar, except for the bounded reason of the end."""
    text = text_for_model(said_by_stranger(words))
    harmless = text_for_model(said_by_stranger("harmless"))

    assert len(text.splitlines()) == len(harmless.splitlines())
    assert all(c == "\n" or unicodedata.category(c)[0] != "C" for c in text)


@given(words=st.text(st.characters() | st.sampled_from("<>&\"'`$[]\\\x1b\u202e"), max_size=60))
def test_no_words_break_a_card(words: str) -> None:
    """Whatever was said, the card has the elements that it has, and all of them are closed."""
    page = Page(said_by_stranger("x" + words)._repr_html_())

    assert page.open == []
    assert set(page.elements) <= set(Page(said_by_stranger("harmless")._repr_html_()).elements)


def test_showing_costs_nothing_until_it_is_asked_for() -> None:
    """Importing the package imports none of the ways to show a result."""
    script = (
        "import sys, langchain_oneshot_voice;"
        "print([m for m in sys.modules if m.startswith(('langchain_oneshot_voice.display.terminal',"
        " 'langchain_oneshot_voice.display.card', 'rich.', 'matplotlib', 'pandas'))])"
    )
    done = subprocess.run(  # noqa: S603 - the script is the test's own
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
