"""The tool as each provider's models see it: every field, every description, the union."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_oneshot_voice import VoiceCallInput, VoiceCallTool

FIELDS = {
    "objective",
    "target_number",
    "caller_persona",
    "caller_name",
    "context",
    "max_duration_minutes",
}
DESCRIPTIONS = {
    name: field.description for name, field in VoiceCallInput.model_fields.items()
}  # as a model should read them


@pytest.fixture
def tool() -> VoiceCallTool:
    """A tool that never calls anybody."""
    return VoiceCallTool(private_key="0x" + "1" * 64, journal="memory")


def kinds(schema: dict[str, Any]) -> set[str]:
    """The types that a property allows, null aside."""
    branches = schema.get("anyOf") or schema.get("any_of") or [schema]
    return {str(branch["type"]).lower() for branch in branches} - {"null"}


def test_model_sees_exactly_the_six_fields(tool: VoiceCallTool) -> None:
    """Nothing of the framework's (run manager, tool call id) is an argument of the model's."""
    assert set(tool.args) == FIELDS
    schema = tool.tool_call_schema
    assert isinstance(schema, type)
    assert issubclass(schema, BaseModel)
    assert set(schema.model_fields) == FIELDS


@pytest.mark.parametrize("strict", [None, False, True])
def test_openai_schema_is_whole(tool: VoiceCallTool, strict: bool | None) -> None:
    """OpenAI's form keeps every field, every description and the union, strict too."""
    function = convert_to_openai_tool(tool, strict=strict)["function"]
    properties = function["parameters"]["properties"]

    assert {name: p["description"] for name, p in properties.items()} == DESCRIPTIONS
    assert kinds(properties["target_number"]) == {"string", "array"}
    assert function["name"] == "voice_call"
    assert function["description"] == tool.description


def test_openai_strict_schema_closes_the_object(tool: VoiceCallTool) -> None:
    """In strict mode every field is required and no other is allowed."""
    function = convert_to_openai_tool(tool, strict=True)["function"]

    assert function["strict"] is True
    assert function["parameters"]["additionalProperties"] is False
    assert set(function["parameters"]["required"]) == FIELDS


def test_only_objective_and_number_are_required(tool: VoiceCallTool) -> None:
    """A model may leave out everything else."""
    parameters = convert_to_openai_tool(tool)["function"]["parameters"]

    assert set(parameters["required"]) == {"objective", "target_number"}


def test_anthropic_schema_is_whole(tool: VoiceCallTool) -> None:
    """Anthropic's form keeps every field, every description and the union."""
    # A second to import, and one of the workers runs this.
    from langchain_anthropic.chat_models import convert_to_anthropic_tool

    converted: dict[str, Any] = dict(convert_to_anthropic_tool(tool))
    properties = converted["input_schema"]["properties"]

    assert {name: p["description"] for name, p in properties.items()} == DESCRIPTIONS
    assert kinds(properties["target_number"]) == {"string", "array"}
    assert converted["description"] == tool.description


def test_google_schema_is_whole(tool: VoiceCallTool) -> None:
    """Google's form keeps every field, every description and the union."""
    from langchain_google_genai._function_utils import convert_to_genai_function_declarations

    converted: Any = convert_to_genai_function_declarations([tool])
    (declared,) = converted if isinstance(converted, list) else [converted]
    assert declared.function_declarations
    declaration = declared.function_declarations[0].model_dump(mode="json", exclude_none=True)
    properties = declaration["parameters"]["properties"]

    assert {name: p["description"] for name, p in properties.items()} == DESCRIPTIONS
    assert kinds(properties["target_number"]) == {"string", "array"}
    assert declaration["description"] == tool.description
