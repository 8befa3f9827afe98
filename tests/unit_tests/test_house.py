"""The house: who may import whom, and which room alone knows the service's words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import langchain_oneshot_voice

PACKAGE = Path(langchain_oneshot_voice.__file__).parent
NAME = PACKAGE.name
TREES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8"))
    for path in PACKAGE.rglob("*.py")
}
WIRE = {Path("oneshot"), Path("sandbox")}
FROZEN = {Path("journal/migrations.py")}
"""Reads what older versions wrote, in the words that they had."""

FIELDS = {
    *("decisionContext", "goalId", "payment_request", "token_address", "recipient"),
    *("estimated_call_cost", "estimated_duration_minutes", "complexity_score", "conference_mode"),
    *("target_numbers", "success_evaluation", "job_id", "has_more", "wallet_address"),
    *("credits_balance", "shortfall_usdc", "required_usdc", "payment_attempt_id"),
    *("accepts", "payTo", "maxTimeoutSeconds", "x402Version", "subscribe", "receipts"),
}
"""Names of the contract that are none of ours."""

HEADERS = {
    *("payment-required", "payment-signature", "x-quote-id", "x-agent-proof", "x-agent-id"),
    *("idempotency-key", "x-max-cost-usdc", "x-approval-id", "retry-after"),
}


def module_of(path: Path) -> str:
    """The dotted name of a file's module."""
    parts = [NAME, *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): tree for path, tree in TREES.items()}


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def circles() -> list[set[str]]:
    """Groups of modules that import each other, directly or by way of others."""
    arrows = {
        name: {to for to in imported(tree) if to in MODULES and to != name}
        for name, tree in MODULES.items()
    }
    reach: dict[str, set[str]] = {}
    for name, direct in arrows.items():
        found, todo = set[str](), list(direct)
        while todo:
            to = todo.pop()
            if to not in found:
                found.add(to)
                todo += arrows[to]
        reach[name] = found
    found_circles: list[set[str]] = []
    for name in sorted(arrows):
        if name in reach[name] and not any(name in circle for circle in found_circles):
            found_circles.append({name} | {to for to in reach[name] if name in reach[to]})
    return found_circles


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Arrows run one way."""
    assert circles() == []


def test_only_the_provider_s_room_knows_the_contract_s_words() -> None:
    """A field, a header or a route of the service's is spelled in those rooms only."""
    known = {
        f"{path}: {node.value}"
        for path, tree in TREES.items()
        if not WIRE & set(path.parents) and path not in FROZEN
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in FIELDS or node.value.lower() in HEADERS or node.value.startswith("/v1/")
    }
    assert known == set()


def test_the_words_are_those_of_the_contract() -> None:
    """Each of them is found in the provider's room, so that none is looked for in vain."""
    spelled = "".join(
        (PACKAGE / path).read_text(encoding="utf-8").lower()
        for path in TREES
        if path.parts[0] == "oneshot"
    )
    assert {word for word in FIELDS | HEADERS if word.lower() not in spelled} == set()


@pytest.mark.parametrize("package", ["aiohttp", "httpx", "httpx2", "httpcore"])
def test_no_module_imports_an_http_package(package: str) -> None:
    """The transport loads one of them by name, when the first request is made."""
    users = [name for name, tree in MODULES.items() if package in set(imported(tree))]
    assert users == []


def test_the_sandbox_shares_nothing_with_the_client() -> None:
    """A client and a server that share code share their mistakes."""
    shared = {
        f"{name} -> {to}"
        for name, tree in MODULES.items()
        if name.startswith(f"{NAME}.sandbox")
        for to in imported(tree)
        if to.startswith(f"{NAME}.oneshot")
    }
    assert shared == set()
