"""Formats a quote or a result as a card for notebooks: HTML with styles and without scripts.

The card is light or dark like the page: JupyterLab and VS Code mark their theme, and other pages
use the system's setting. Without styles (an untrusted notebook, an e-mail) the words and their
order are the same. A stranger's words are escaped. They never go into a style or an element's name,
and into an address only as a valid link.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from langchain_oneshot_voice.display import card
from langchain_oneshot_voice.schemas import TranscriptTurn, VoiceCallQuote, VoiceCallResult
from langchain_oneshot_voice.visible_text import plain, web_link

_DARK = (
    "--bg:#0d1117;--fg:#e6edf3;--dim:#9aa4ae;--line:#3d444d;--ours:#12314f;--theirs:#21262d;"
    "--good:#3fb950;--bad:#ff7b72;--unsure:#e3b341;--mark:#5c4813;--markfg:#fff1c2"
)
_LIGHT = (
    "--bg:#fff;--fg:#1f2328;--dim:#59636e;--line:#d1d9e0;--ours:#ddf4ff;--theirs:#f0f2f5;"
    "--good:#1a7f37;--bad:#cf222e;--unsure:#8a5a00;--mark:#fff1a8;--markfg:#1f2328"
)
_STYLE = f"""
.osv{{{_LIGHT}}}
@media(prefers-color-scheme:dark){{.osv{{{_DARK}}}}}
[data-jp-theme-light="false"] .osv,.vscode-dark .osv{{{_DARK}}}
[data-jp-theme-light="true"] .osv,.vscode-light .osv{{{_LIGHT}}}
.osv{{box-sizing:border-box;max-width:44em;margin:.5em 0;padding:.9em 1.1em;line-height:1.45;
 font-family:system-ui,sans-serif;font-size:14px;color:var(--fg);background:var(--bg);
 border:1px solid var(--line);border-radius:10px;overflow-wrap:anywhere}}
.osv *{{box-sizing:border-box}}
.osv div,.osv p,.osv ul{{margin:0 0 .6em;padding:0}}
.osv .osv-head{{font-weight:600;font-size:1.1em;margin:0}}
.osv .osv-good{{color:var(--good)}} .osv .osv-bad{{color:var(--bad)}}
.osv .osv-unsure{{color:var(--unsure)}} .osv .osv-dim{{color:var(--dim)}}
.osv ul{{list-style:none;padding-left:0!important}} .osv li{{margin:0 0 0 1.3em;text-indent:-1.3em}}
.osv li b{{display:inline-block;width:1.3em;text-indent:0}}
.osv .osv-terms{{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1em}}
.osv .osv-terms>div{{display:contents}} .osv .osv-terms>div>span:first-child{{color:var(--dim)}}
.osv .osv-money{{grid-template-columns:max-content max-content}}
.osv .osv-money>div>span+span{{text-align:right;font-variant-numeric:tabular-nums}}
.osv .osv-talk{{display:flex;flex-direction:column;gap:.35em;max-height:60em;overflow:auto;
 border-top:1px solid var(--line);padding-top:.7em}}
.osv .osv-turn{{max-width:82%;margin:0;padding:.35em .7em .45em;border-radius:12px;
 background:var(--theirs);align-self:flex-end;border-bottom-right-radius:3px}}
.osv .osv-ours{{background:var(--ours);align-self:flex-start;border-radius:12px 12px 12px 3px}}
.osv .osv-who{{display:block;font-size:.8em;color:var(--dim)}}
.osv mark{{background:var(--mark);color:var(--markfg);border-radius:3px;padding:0 .15em}}
.osv .osv-foot{{margin:0;font-size:.82em;color:var(--dim)}} .osv a{{color:inherit}}
@media(max-width:480px){{.osv{{padding:.7em .8em}} .osv .osv-turn{{max-width:94%}}}}
"""


def quote_html(quote: VoiceCallQuote) -> str:
    """Return a card with the price, the numbers and the criteria for success."""
    rows = [(_text(label), _text(amount)) for label, amount in card.prices(quote)]
    total = (_tag("b", "", "Total"), _tag("b", "", _text(card.dollars(quote.total))))
    until = f"Good until {quote.expires_at:%Y-%m-%d %H:%M %Z}. " if quote.expires_at else ""
    return _card(
        _tag("div", "osv-head", _text(f"Quote: {card.dollars(quote.total)}")),
        _tag("p", "osv-dim", _text(card.whom(quote))),
        _terms([*rows, total], "osv-money"),
        _tag("div", "osv-dim", "It succeeds when" if quote.success_criteria else ""),
        _items(("\u00b7", "dim", plain(words)) for words in quote.success_criteria),
        _tag("p", "osv-foot", _text(f"{until}Nothing is paid yet.")),
    )


def result_html(result: VoiceCallResult) -> str:
    """Return a card with the verdict, the cost, the filled fields and the conversation."""
    words, tone = card.verdict(result)
    return _card(
        _tag("div", f"osv-head osv-{tone}", _text(f"{card.MARKS[tone]} {words}")),
        _tag("p", "osv-dim", _text(" \u00b7 ".join(card.facts(result)))),
        *(_tag("p", "osv-unsure", _text(f"\u26a0 {w}")) for w in card.reservations(result)),
        _tag("p", "", _text(f"\u201c{plain(result.summary)}\u201d") if result.summary else ""),
        _items((card.MARKS[c.state], c.state, c.words) for c in card.criteria(result)),
        _terms((_text(row.name), _value(row, result)) for row in card.filled(result)),
        _talk(result),
        _tag("p", "osv-foot", _foot(result)),
    )


def _value(row: card.FilledField, result: VoiceCallResult) -> str:
    if row.value is None:
        return _tag("span", "osv-dim", "not found in the call")
    doubt = " (not supported by the transcript)" if row.name in result.unsupported_fields else ""
    return _text(row.value) + _tag("span", "osv-unsure", _text(doubt))


def _talk(result: VoiceCallResult) -> str:
    return _tag("div", "osv-talk", "".join(_bubble(t, result.evidence) for t in result.transcript))


def _bubble(turn: TranscriptTurn, evidence: dict[str, str]) -> str:
    said = "".join(
        _text(piece.words)
        if piece.field is None
        else f'<mark title="{_text(piece.field)}">{_text(piece.words)}</mark>'
        for piece in card.pieces(turn.text, evidence)
    )
    side = "osv-turn osv-ours" if turn.speaker == "caller" else "osv-turn"
    return _tag("div", side, _tag("span", "osv-who", _text(plain(turn.speaker))) + " " + said)


def _foot(result: VoiceCallResult) -> str:
    recording = web_link(result.recording_url)
    link = (
        f'<a href="{_text(recording)}" rel="noopener noreferrer">recording</a>' if recording else ""
    )
    known = [
        _text(plain(result.request_id or "")),
        _text(plain(result.ended_reason or "")),
        _text(plain(result.error_code or "")),
        link,
    ]
    return " \u00b7 ".join(part for part in known if part)


def _items(rows: Iterable[tuple[str, str, str]]) -> str:
    items = (
        f"<li>{_tag('b', f'osv-{tone}', mark)}{_text(words)}</li>" for mark, tone, words in rows
    )
    return _tag("ul", "", "".join(items))


def _terms(rows: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Return a list of terms. The second item of each pair is HTML already."""
    lines = (f"<div><span>{term}</span> <span>{value}</span></div>" for term, value in rows)
    return _tag("div", f"osv-terms {kind}".strip(), "".join(lines))


def _card(*parts: str) -> str:
    # These classes keep MathJax from reading two dollar signs as a formula.
    inside = "\n".join(part for part in parts if part)
    return (
        f'<div class="osv tex2jax_ignore mathjax_ignore"><style>{_STYLE}</style>\n{inside}\n</div>'
    )


def _tag(name: str, kind: str, inside: str) -> str:
    """Return an element around HTML, or an empty string if there is no HTML."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<{name}{attribute}>{inside}</{name}>" if inside else ""


def _text(words: str) -> str:
    return escape(words, quote=True)
