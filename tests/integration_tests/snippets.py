"""Runs the Python blocks of a document as they stand, and checks what their comments claim.

A comment behind an expression is a claim if it shows a value: `call.status  # 'done'`. "..." in it
stands for anything, and ` | ` between two values for "or"; words may follow the value. What is
printed is claimed in the same way. Any other comment is for people.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_VALUE = re.compile(r"""['"\[({]|-?\d|None\b|True\b|False\b|[A-Z]\w*\(""")
_SHOWN = "__shown__"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Attributes:
        line: the line of the document on which its code begins.
    """

    document: Path
    language: str
    code: str
    line: int

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def read_blocks(document: Path) -> list[Block]:
    """Every fenced block of a document, in order."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(document, match[2], match[3], text.count("\n", 0, match.start(3)) + 1)
        for match in _FENCE.finditer(text)
    ]
    assert 2 * len(found) == text.count("```"), f"{document.name} has a block that nobody closed"
    return found


@dataclass
class Shown:
    """What the expressions of a block were, by line of the document."""

    block: Block
    values: dict[int, list[Any]] = field(default_factory=dict)

    def false_claims(self) -> list[str]:
        """Claims that none of the values on their line bears out."""
        return [
            f"{self.block.document.name}:{line} claims {claim}, and it is {self.values[line]}"
            for line, claim in claims(self.block).items()
            if line in self.values
            and not any(bears_out(value, claim) for value in self.values[line])
        ]

    def unseen_claims(self) -> list[str]:
        """Claims on lines that showed nothing."""
        return [
            f"{self.block.document.name}:{line} claims {claim}, and shows nothing"
            for line, claim in claims(self.block).items()
            if line not in self.values
        ]


def run(block: Block, names: dict[str, Any]) -> Shown:
    """Run a block with these names, and leave its own among them."""
    shown = Shown(block)
    tree = ast.parse(block.code)
    ast.increment_lineno(tree, block.line - 1)  # a failure shows the line of the document
    tree = ast.fix_missing_locations(_Watch().visit(tree))

    def keep(line: int, value: Any) -> Any:
        shown.values.setdefault(line, []).append(value)
        return value

    def show(*values: Any) -> Any:
        print(*values)  # noqa: T201 - what the block prints
        return values[0] if len(values) == 1 else values

    names |= {_SHOWN: keep, "print": show}
    # `dont_inherit`: the blocks have no `from __future__ import annotations`.
    code = compile(tree, str(block.document), "exec", dont_inherit=True)
    exec(code, names)  # noqa: S102 - runs our own document
    return shown


class _Watch(ast.NodeTransformer):
    """Keeps the value of each expression that stands by itself."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        line = ast.Constant(node.end_lineno)
        kept = ast.Call(ast.Name(_SHOWN, ast.Load()), [line, node.value], [])
        return ast.copy_location(ast.Expr(ast.copy_location(kept, node.value)), node)


def claims(block: Block) -> dict[int, str]:
    """The values that comments behind code show, by line of the document."""
    tokens = tokenize.generate_tokens(io.StringIO(block.code).readline)
    found = {}
    for token in tokens:
        comment = token.string.lstrip("# ")
        behind_code = token.line[: token.start[1]].strip()
        if token.type == tokenize.COMMENT and behind_code and _VALUE.match(comment):
            found[block.line + token.start[0] - 1] = comment
    return found


def bears_out(value: Any, claim: str) -> bool:
    """Whether a value is one of those that a claim shows."""
    shown = repr(value)
    for one in claim.split(" | "):
        pattern = re.escape(one).replace(re.escape("..."), ".*")
        if re.fullmatch(pattern, shown, re.DOTALL):
            return True
        if re.match(re.escape(shown) + r"(?!\w)", one):
            return True
    return False
