"""LangChain's own unit tests for tools, as they are."""

from __future__ import annotations

from typing import Any

from langchain_tests.unit_tests import ToolsUnitTests
from placing import arguments

from langchain_oneshot_voice import VoiceCallTool

KEY = "0x" + "12" * 32


class TestVoiceCallToolUnit(ToolsUnitTests):
    """The standard suite."""

    @property
    def tool_constructor(self) -> type[VoiceCallTool]:
        """The tool."""
        return VoiceCallTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        """What it needs."""
        return {"private_key": KEY, "journal": "memory"}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """A call."""
        return arguments()

    @property
    def init_from_env_params(
        self,
    ) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        """The same from the environment."""
        environment = {"ONESHOT_WALLET_PRIVATE_KEY": KEY, "ONESHOT_BASE_URL": "http://127.0.0.1:1"}
        return (
            environment,
            {"journal": "memory"},
            {
                "private_key": KEY,
                "base_url": "http://127.0.0.1:1",
            },
        )
