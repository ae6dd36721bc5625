"""The reader of YAML and JSON: what it refuses, with the line, and what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.common.documents import DocumentError, Limits, load_yaml, parse_json, parse_yaml


def refused(text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: no", "f.yaml, line 2: `no` is read as a truth value"),
        ("a: 010", "line 1: `010` is no plain whole number"),
        ("a: 1:30", "`1:30` is no plain whole number"),
        ("a: 2020-01-01", "read as a date"),
        ("a: .inf", "not a finite number"),
        (f"a: {2**63}", "does not fit into 64 bits"),
        ("a: 1\na: 2", "line 2: the key `a` is given twice"),
        ("off: 1", "the key `off` is read as a truth value"),
        ("? [x]\n: 1", "a key must be one word"),
        ("a: !!python/object/apply:os.getcwd []", "is not supported"),
        ("a: &x [*x]", "contains it"),
        ('a: "\\x1b"', "\\x1b"),
        ("[" * 40 + "]" * 40, "within each other"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    assert says in refused(text)


def test_aliases_may_not_multiply() -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcd", "bcde", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    assert "aliases make more than" in refused("\n".join(lines))
    assert parse_yaml("a: &a [1]\nb: *a", "f.yaml").content == {"a": [1], "b": [1]}


def test_what_is_given() -> None:
    content = {"a": "no", "b": [1, -2.5, True, None], "c": {"d": "007"}}
    assert parse_yaml("{a: 'no', b: [1, -2.5, true, null], c: {d: '007'}}", "f.yaml").content == content
    assert parse_yaml("", "f.yaml").content is None


@pytest.mark.parametrize(
    "text", ["{", "NaN", "[1e999]", '{"a": 1, "a": 2}', '"\\ud800"', "[" * 100 + "]" * 100, "9" * 5000, b"\xff\xfe1\0"]
)
def test_json_that_is_refused(text: str | bytes) -> None:
    with pytest.raises(DocumentError, match="what"):
        parse_json(text, "what")


def test_json_that_is_given() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00", "b": [1, 2.5]}', "what") == {
        "a": "\U0001f600",
        "b": [1, 2.5],
    }


def test_sizes_and_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("\ufeffa: é".encode())
    assert load_yaml(tmp_path / "a.yaml") == {"a": "é"}
    for path in (tmp_path, tmp_path / "none.yaml", Path("/dev/zero")):
        with pytest.raises(DocumentError, match="cannot be read"):
            load_yaml(path)
    with pytest.raises(DocumentError, match="larger than 3"):
        load_yaml(tmp_path / "a.yaml", Limits(3))
