"""Tables of what loads and what does not, made from the tests: each row is a test that says what it shows.

A test says it by its decorator, `@pytest.mark.loads("model", "what there is", "what happens")`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.utils.table import Table

TESTS = Path(__file__).resolve().parents[2] / "tests"
MARK = "pytest.mark.loads"


@dataclass(frozen=True)
class Row:
    """What one test shows.

    Attributes:
        kind: The table: "model", "images", "captions", "name" or "request".
        what: What there is.
        happens: What happens.
        test: The test's file and name.
    """

    kind: str
    what: str
    happens: str
    test: str


@cache
def rows() -> tuple[Row, ...]:
    """All rows, in the order of files and tests."""
    return tuple(row for file in sorted(TESTS.rglob("test_*.py")) for row in _of_file(file))


def _of_file(file: Path) -> Iterator[Row]:
    text = file.read_text(encoding="utf-8")
    if MARK not in text:
        return
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARK:
                    kind, what, happens = (str(ast.literal_eval(value)) for value in mark.args)
                    yield Row(kind, what, happens, f"{file.relative_to(TESTS.parent).as_posix()}::{node.name}")


def loads_table(kind: str) -> str:
    """The table of one kind.

    Raises:
        LookupError: If no test shows anything of it.
    """
    chosen = [row for row in rows() if row.kind == kind]
    if not chosen:
        raise LookupError(f"no test is marked with loads({kind!r}, ...)")
    texts = [[row.what, row.happens, f"`{row.test.partition('::')[0].removeprefix('tests/')}`"] for row in chosen]
    return Table.of_texts(["what there is", "what happens", "shown by"], texts, words=(0, 1, 2)).markdown()
