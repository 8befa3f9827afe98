"""LangChain's own integration tests for tools, as they are, on the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from placing import arguments, at_any_hour

from langchain_oneshot_voice import Sandbox, VoiceCallTool


class TestVoiceCallToolIntegration(ToolsIntegrationTests):
    """The standard suite."""

    _params: dict[str, Any]

    @pytest.fixture(autouse=True)
    def _on_the_sandbox(self, sandbox: Sandbox, tmp_path: Path) -> Iterator[None]:
        """Point the suite at a sandbox of its own."""
        type(self)._params = {
            "private_key": sandbox.private_key,
            "base_url": sandbox.base_url,
            "journal": str(tmp_path / "standard.sqlite"),
            "policy": at_any_hour(),
        }
        yield
        del type(self)._params

    @pytest.fixture
    def tool(self, _on_the_sandbox: None) -> BaseTool:
        """The tool, once the sandbox is there."""
        return VoiceCallTool(**self._params)

    @property
    def tool_constructor(self) -> type[VoiceCallTool]:
        """The tool."""
        return VoiceCallTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        """What it needs."""
        return self._params

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """A call."""
        return arguments()
