"""Fills the user's schema from a finished call, with evidence from the transcript.

A model fills the schema and quotes, for each field, the words of the transcript that support the
value. Each quotation is looked up: if nobody said these words, it is dropped and the field is
listed as unsupported. Without a model, or when the model fails, the schema is filled from the facts
of the service. Extraction never loses the result and never changes its other fields. Errors are
reported in `extraction_error`.

The model receives a stranger's words as marked lines, with the instruction not to obey them.
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
"""Keeps these model calls out of the messages that a graph streams to its user."""

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}

_SHORTEST_QUOTE = 3
"""Shorter values, in characters, occur in a transcript by chance and prove nothing."""


@dataclass
class _Extraction:
    """Values from a call, not yet validated."""

    values: dict[str, Any]
    quotes: dict[str, str] = field(default_factory=dict)
    by_model: bool = False
    """True if a model claims the values, so that they need evidence."""
    achieved: str = "unclear"
    opt_out: str | None = None
    """The words of a request not to be called again, as the model quotes them."""
    errors: list[str] = field(default_factory=list)


def check_schema(schema: object) -> None:
    """Check that a schema can be filled.

    Raises:
        ConfigurationError: the schema is neither a pydantic model nor a JSON schema of an object.
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
        result: the result of the call. A call that has not completed is returned unchanged.
        schema: a pydantic model, or a JSON schema of an object.
        model: the chat model that fills the schema; without one, the values come from the
            service's `structured_data`.
        config: the config of the LangChain run, for its callbacks.

    Returns:
        The result with `extracted`, `evidence`, `missing_fields`, `unsupported_fields` and, if
        they apply, `contradiction`, `asked_not_to_be_called` and `extraction_error`.
    """
    if result.call_status != "completed":
        return result
    json_schema = _json_schema(schema)
    extraction = _Extraction(_facts(result, json_schema))
    if model is not None and result.transcript:
        try:
            extraction = await _ask_model(model, json_schema, result, config)
        except Exception as error:  # a failing model must not lose the outcome of a paid call
            log.exception("the extraction of call %s failed", result.request_id)
            extraction.errors.append(wording.extraction_model_failed(type(error).__name__))
    try:
        return _filled(result, schema, json_schema, extraction)
    except Exception as error:  # a failing validator of the user's schema must not lose it either
        log.exception("the outcome of call %s does not fit the schema", result.request_id)
        message = wording.schema_not_fillable(type(error).__name__)
        return result.model_copy(update={"extraction_error": message})


async def _ask_model(
    model: BaseChatModel,
    json_schema: Mapping[str, Any],
    result: VoiceCallResult,
    config: RunnableConfig | None,
) -> _Extraction:
    messages = [SystemMessage(wording.EXTRACTION_INSTRUCTIONS), HumanMessage(_record(result))]
    filler = model.with_structured_output(_wrapper(json_schema))
    # Use a thread: the async client of the user's model may belong to another event loop.
    answer = await asyncio.to_thread(filler.invoke, messages, merge_configs(config, _QUIET))
    if isinstance(answer, BaseModel):
        answer = answer.model_dump()
    if not isinstance(answer.get("values"), Mapping):
        raise TypeError("the model's answer has no values")
    quotes = answer.get("evidence")
    quotes = quotes if isinstance(quotes, Mapping) else {}
    return _Extraction(
        values={name: value for name, value in answer["values"].items() if value is not None},
        quotes={name: words for name, words in quotes.items() if isinstance(words, str)},
        by_model=True,
        achieved=str(answer.get("objective_achieved")),
        opt_out=_as_words(answer.get("asked_not_to_be_called")),
    )


def _filled(
    result: VoiceCallResult,
    schema: OutcomeSchema,
    json_schema: Mapping[str, Any],
    extraction: _Extraction,
) -> VoiceCallResult:
    fields = list(json_schema["properties"])
    extracted, values = _fit(schema, json_schema, extraction)
    # Search the callee's turns first: the AI caller's own words are weak evidence.
    callee_first = sorted(result.transcript, key=lambda turn: turn.speaker == "caller")
    turns = [plain(turn.text) for turn in callee_first]
    evidence = {}
    for name in fields:
        words = extraction.quotes.get(name) if extraction.by_model else _as_words(values.get(name))
        found = _find_words(words, turns) if words and name in values else None
        if found:
            evidence[name] = found
    callee_turns = [plain(turn.text) for turn in result.transcript if turn.speaker != "caller"]
    opt_out = _find_words(extraction.opt_out, callee_turns) if extraction.opt_out else None
    unsupported = [name for name in values if extraction.by_model and name not in evidence]
    return result.model_copy(
        update={
            "extracted": extracted,
            "evidence": evidence,
            "missing_fields": tuple(name for name in fields if name not in values),
            "unsupported_fields": tuple(unsupported),
            "contradiction": result.contradiction or _contradiction(result, extraction.achieved),
            "extraction_error": " ".join(extraction.errors) or None,
            "asked_not_to_be_called": opt_out,
        }
    )


def _fit(
    schema: OutcomeSchema, json_schema: Mapping[str, Any], extraction: _Extraction
) -> tuple[Any, dict[str, Any]]:
    """Validate the values, and drop those that do not fit.

    Returns:
        The accepted values in the type of the schema, and by name. The first is a dict too if a
        required field is missing, and `None` if no value is left.
    """
    values = {
        name: extraction.values[name]
        for name in json_schema["properties"]
        if name in extraction.values
    }
    if isinstance(schema, type):
        while True:
            try:
                return schema.model_validate(values), values
            except ValidationError as error:
                wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
                wrong &= values.keys()
                if not wrong:
                    if values.keys() >= set(json_schema.get("required", ())):
                        extraction.errors.append(wording.values_refused_together())
                    return values or None, values
                extraction.errors.append(wording.values_not_fitting(sorted(wrong)))
                values = {name: value for name, value in values.items() if name not in wrong}
    wrong = {
        name for name, value in values.items() if not _fits(value, json_schema["properties"][name])
    }
    if wrong:
        extraction.errors.append(wording.values_not_fitting(sorted(wrong)))
    values = {name: value for name, value in values.items() if name not in wrong}
    return values or None, values


def _fits(value: object, schema: object) -> bool:
    """Return True if a value has a type and a value that its JSON schema allows."""
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


def _facts(result: VoiceCallResult, json_schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the service's facts under the names of the schema."""
    # The service and the schema may spell a name differently: `party_size`, `partySize`.
    facts = {_normalized(name): value for name, value in result.structured_data.items()}
    found = {name: facts.get(_normalized(name)) for name in json_schema["properties"]}
    return {name: value for name, value in found.items() if value is not None}


def _normalized(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _as_words(value: object) -> str | None:
    """Return a value as spoken words; `None` if it is too short to search for."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    words = str(value)
    return words if len(words.strip()) >= _SHORTEST_QUOTE else None


def _find_words(words: str, turns: list[str]) -> str | None:
    """Return the words as they are in a turn, ignoring case and spacing; `None` if in no turn."""
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


def _wrapper(json_schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema for the model: the user's with optional fields, and the evidence."""
    nullable = {
        name: {"anyOf": [of, {"type": "null"}]} for name, of in json_schema["properties"].items()
    }
    words = {"type": ["string", "null"]}
    shared = {key: json_schema[key] for key in ("$defs", "definitions") if key in json_schema}
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
