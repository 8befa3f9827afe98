"""From what was said on the phone to the user's own schema, with the words that support it.

A model fills the schema and names, field by field, the words of the transcript that it read the
value from. What it names is looked up: words that nobody said are dropped, and the field is listed
as unsupported. Without a model, or when the model fails, the facts that the service noted are read
into the schema instead. The result itself is never lost, nor is anything else in it changed: what
goes wrong here is said in `extraction_error`.

The model is given what strangers said as fenced lines, and told that it is not talking to it.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from pydantic import BaseModel, TypeAdapter, ValidationError

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.schemas import VoiceCallResult
from langchain_oneshot_voice.visible_text import plain, words_pattern

log = logging.getLogger(__name__)

OutcomeSchema = type[BaseModel] | Mapping[str, Any]
"""A pydantic model, or a JSON schema of an object."""

_QUIET: RunnableConfig = {"tags": ["nostream"], "run_name": "voice_call_extraction"}
"""A graph that streams its model's words to a user does not stream these."""

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}

_SHORTEST_QUOTE = 3
"""Characters of a value below which finding it in a transcript says nothing."""


@dataclass
class _Reading:
    """What was read from a call, before it is known to fit."""

    values: dict[str, Any]
    quotes: dict[str, str] = field(default_factory=dict)
    claimed: bool = False
    """Whether a model made the claims, which then need support."""
    achieved: str = "unclear"
    wish: str | None = None
    """The words in which somebody is said to have asked not to be called again."""
    trouble: list[str] = field(default_factory=list)


def check_schema(schema: object) -> None:
    """Make sure that a schema can be filled.

    Raises:
        ConfigurationError: when it is no pydantic model and no JSON schema of an object.
    """
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return
    if isinstance(schema, Mapping) and isinstance(schema.get("properties"), Mapping):
        return
    raise wording.outcome_schema_unusable()


async def extract(
    result: VoiceCallResult,
    schema: OutcomeSchema,
    model: BaseChatModel | None = None,
    *,
    config: RunnableConfig | None = None,
) -> VoiceCallResult:
    """Fill a schema from a finished call.

    Args:
        result: what came of the call. One that has not ended comes back as it is.
        schema: what to fill: a pydantic model, or a JSON schema of an object.
        model: who fills it; without one, what the service noted in `structured_data` is used.
        config: of the LangChain run that asks, for its callbacks.

    Returns:
        The result with `extracted`, `evidence`, `missing_fields`, `unsupported_fields` and, where
        they apply, `contradiction`, `asked_not_to_be_called` and `extraction_error`.
    """
    if result.call_status != "completed":
        return result
    form = _json_schema(schema)
    reading = _Reading(_noted(result, form))
    if model is not None and result.transcript:
        try:
            reading = await _ask(model, form, result, config)
        except Exception as trouble:  # a model's fault must not cost the outcome of a paid call
            log.exception("the extraction of call %s failed", result.request_id)
            reading.trouble.append(wording.extraction_model_failed(type(trouble).__name__))
    try:
        return _filled(result, schema, form, reading)
    except Exception as trouble:  # nor must a validator of the user's schema
        log.exception("the outcome of call %s can't be fitted", result.request_id)
        said = wording.schema_not_fillable(type(trouble).__name__)
        return result.model_copy(update={"extraction_error": said})


async def _ask(
    model: BaseChatModel,
    form: Mapping[str, Any],
    result: VoiceCallResult,
    config: RunnableConfig | None,
) -> _Reading:
    messages = [SystemMessage(wording.EXTRACTION_INSTRUCTIONS), HumanMessage(_record(result))]
    filler = model.with_structured_output(_wrapper(form))
    # In a thread: an async client of the user's model may belong to another event loop.
    answer = await asyncio.to_thread(filler.invoke, messages, merge_configs(config, _QUIET))
    if isinstance(answer, BaseModel):
        answer = answer.model_dump()
    if not isinstance(answer.get("values"), Mapping):
        raise TypeError("the model's answer has no values")
    quotes = answer.get("evidence")
    quotes = quotes if isinstance(quotes, Mapping) else {}
    return _Reading(
        values={name: value for name, value in answer["values"].items() if value is not None},
        quotes={name: words for name, words in quotes.items() if isinstance(words, str)},
        claimed=True,
        achieved=str(answer.get("objective_achieved")),
        wish=_as_said(answer.get("asked_not_to_be_called")),
    )


def _filled(
    result: VoiceCallResult, schema: OutcomeSchema, form: Mapping[str, Any], reading: _Reading
) -> VoiceCallResult:
    fields = list(form["properties"])
    extracted, values = _fit(schema, form, reading)
    # What the other side said comes first: our own words settle nothing.
    theirs_first = sorted(result.transcript, key=lambda turn: turn.speaker == "caller")
    turns = [plain(turn.text) for turn in theirs_first]
    evidence = {}
    for name in fields:
        words = reading.quotes.get(name) if reading.claimed else _as_said(values.get(name))
        found = _found(words, turns) if words and name in values else None
        if found:
            evidence[name] = found
    others = [plain(turn.text) for turn in result.transcript if turn.speaker != "caller"]
    wish = _found(reading.wish, others) if reading.wish else None
    unsupported = [name for name in values if reading.claimed and name not in evidence]
    return result.model_copy(
        update={
            "extracted": extracted,
            "evidence": evidence,
            "missing_fields": tuple(name for name in fields if name not in values),
            "unsupported_fields": tuple(unsupported),
            "contradiction": result.contradiction or _contradiction(result, reading.achieved),
            "extraction_error": " ".join(reading.trouble) or None,
            "asked_not_to_be_called": wish,
        }
    )


def _fit(
    schema: OutcomeSchema, form: Mapping[str, Any], reading: _Reading
) -> tuple[Any, dict[str, Any]]:
    """The accepted values in the schema's own type and by name; what does not fit is left out.

    Where something required is missing, the first is a dict too.
    """
    values = {name: reading.values[name] for name in form["properties"] if name in reading.values}
    if isinstance(schema, type):
        while True:
            try:
                return schema.model_validate(values), values
            except ValidationError as error:
                wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
                wrong &= values.keys()
                if not wrong:
                    if values.keys() >= set(form.get("required", ())):
                        reading.trouble.append(wording.values_refused_together())
                    return values or None, values
                reading.trouble.append(wording.values_not_fitting(sorted(wrong)))
                values = {name: value for name, value in values.items() if name not in wrong}
    wrong = {name for name, value in values.items() if not _fits(value, form["properties"][name])}
    if wrong:
        reading.trouble.append(wording.values_not_fitting(sorted(wrong)))
    values = {name: value for name, value in values.items() if name not in wrong}
    return values or None, values


def _fits(value: object, schema: object) -> bool:
    """Whether a value is of the type, and among the words, that a JSON schema allows it."""
    if not isinstance(schema, Mapping):
        return True
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        return False
    kind = schema.get("type")
    kinds = [_TYPES[k] for k in ([kind] if isinstance(kind, str) else kind or []) if k in _TYPES]
    if isinstance(value, bool) and kinds:
        return bool in kinds
    return not kinds or any(isinstance(value, expected) for expected in kinds)


def _noted(result: VoiceCallResult, form: Mapping[str, Any]) -> dict[str, Any]:
    """The service's notes under the schema's names, however either spells `party_size`."""
    noted = {_folded(name): value for name, value in result.structured_data.items()}
    found = {name: noted.get(_folded(name)) for name in form["properties"]}
    return {name: value for name, value in found.items() if value is not None}


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _as_said(value: object) -> str | None:
    """A noted value as it would be said; `None` for one that is too short to be looked for."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    words = str(value)
    return words if len(words.strip()) >= _SHORTEST_QUOTE else None


def _found(words: str, turns: list[str]) -> str | None:
    """The words as they stand in a turn, whatever their case and spacing were."""
    pattern = words_pattern(words)
    matches = (pattern.search(turn) for turn in turns) if pattern else iter(())
    return next((match[0] for match in matches if match), None)


def _contradiction(result: VoiceCallResult, achieved: str) -> str | None:
    if result.call_successful == "success" and achieved == "no":
        return wording.conflict("transcript_says_no")
    if result.call_successful == "failure" and achieved == "yes":
        return wording.conflict("transcript_says_yes")
    return None


def _record(result: VoiceCallResult) -> str:
    return wording.call_record(
        criteria=result.quote.success_criteria if result.quote else (),
        noted={k: json.dumps(v, default=str) for k, v in result.structured_data.items()},
        summary=result.summary,
        turns=[(turn.speaker, turn.text) for turn in result.transcript],
    )


def _json_schema(schema: OutcomeSchema) -> dict[str, Any]:
    if isinstance(schema, type):
        return TypeAdapter(schema).json_schema()
    return copy.deepcopy(dict(schema))


def _wrapper(form: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that a model fills: the user's, each field optional, and the words behind it."""
    nullable = {name: {"anyOf": [of, {"type": "null"}]} for name, of in form["properties"].items()}
    words = {"type": ["string", "null"]}
    shared = {key: form[key] for key in ("$defs", "definitions") if key in form}
    return {
        "title": "CallOutcome",
        "description": wording.EXTRACTION_FORM,
        "type": "object",
        "properties": {
            "values": {"type": "object", "properties": nullable},
            "evidence": {"type": "object", "properties": dict.fromkeys(nullable, words)},
            "objective_achieved": {"type": "string", "enum": ["yes", "no", "unclear"]},
            "asked_not_to_be_called": words,
        },
        "required": ["values", "evidence", "objective_achieved", "asked_not_to_be_called"],
        **shared,
    }
