"""Cards and hyperparameters: checked, sourced, and read without importing a method."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from datamodules.common.errors import UnknownNameError
from methods.common.card import (
    ContractError,
    HyperparameterError,
    MethodCard,
    hyper,
    read_method,
    resolve,
)
from methods.common.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Registry()
PLUGIN = (ROOT / "methods" / "nullspace.py").read_text().replace('name="nullspace"', 'name="copied"')


def parameters(name: str) -> type:
    return REGISTRY.declaration(name).hyperparameters


def test_defaults_depend_on_the_scale() -> None:
    kind = parameters("lip")
    assert resolve(kind, "published", {}).draws == 25 and resolve(kind, "small", {}).draws == 10
    assert resolve(kind, "small", {}).max_steps == resolve(kind, "published", {}).max_steps == 30
    assert resolve(parameters("cliperase"), "published", {}).max_steps is None


def test_overrides_win_on_both_scales() -> None:
    for scale in ("published", "small"):
        assert resolve(parameters("lip"), scale, {"draws": 3}).draws == 3


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'forget_weight'"):
        resolve(parameters("ccup"), "small", {"forget_weigth": 1.0})


@pytest.mark.parametrize(
    ("method", "override"),
    [
        ("nullspace", {"alpha": 1.5}),
        ("nullspace", {"alpha": float("nan")}),
        ("ccup", {"forget_weight": -1}),
        ("ccup", {"forget_weight": float("inf")}),
        ("lip", {"max_steps": 0}),
        ("ccup", {"retain_names": "everything"}),
        ("lip", {"draws": 2.5}),
        ("lip", {"draws": "2"}),
        ("lip", {"draws": True}),
        ("lip", {"draws": None}),
        ("nullspace", {"alpha": "half"}),
        ("nullspace", {"alpha": True}),
    ],
)
def test_wrong_values_are_one_line_naming_the_hyperparameter(method: str, override: dict) -> None:
    with pytest.raises(HyperparameterError) as caught:
        resolve(parameters(method), "small", override)
    assert next(iter(override)) in str(caught.value) and "\n" not in str(caught.value)


def test_an_int_is_a_float_and_none_is_kept_where_allowed() -> None:
    value = resolve(parameters("ccup"), "small", {"forget_weight": 3}).forget_weight
    assert value == 3.0 and isinstance(value, float)
    assert resolve(parameters("cliperase"), "small", {"max_steps": None}).max_steps is None


def test_every_default_has_a_source_and_lies_in_its_range() -> None:
    for name in REGISTRY.names():
        kind = parameters(name)
        for field in dataclasses.fields(kind):
            assert field.metadata["source"], (name, field.name)
        for scale in ("published", "small"):
            defaults = resolve(kind, scale, {})
            assert resolve(kind, scale, dataclasses.asdict(defaults)) == defaults


def test_a_learning_rate_of_the_small_clips_is_the_middle_of_its_optimizers_range() -> None:
    kind = parameters("graddiff")
    assert resolve(kind, "published", {}).learning_rate == 1e-6 and resolve(kind, "small", {}).learning_rate == 1e-4
    with pytest.raises(ContractError, match="use adam or sgd"):
        hyper(1.0, source="x", rate="adams")  # type: ignore[arg-type]


def test_deviations_are_sentences_that_name_settings_which_exist() -> None:
    stated = 0
    for name in REGISTRY.names():
        declaration = REGISTRY.declaration(name)
        fields = {field.name for field in dataclasses.fields(declaration.hyperparameters)}
        for sentence in declaration.card.deviations:
            assert sentence[0].isupper() and sentence.endswith(".") and len(sentence) > 30, (name, sentence)
            for setting in re.findall(r"`(\w+)[=`]", sentence):
                assert setting in fields, (name, setting)
            stated += 1
    assert stated > 40 and REGISTRY.declaration("lip").card.deviations


def test_a_small_default_needs_a_source() -> None:
    with pytest.raises(ContractError):
        hyper(1.0, source="paper", small=2.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"regime": "all"},
        {"edits": ("visuals",)},
        {"edits": ()},
        {"deviations": "one sentence"},
        {"deviations": ("",)},
        {"deviations": (3,)},
        {"deviations": ("it hides \u202e what it says",)},
    ],
)
def test_a_card_with_unknown_words_or_odd_sentences_is_refused(bad: dict) -> None:
    fields = {"name": "x", "title": "x", "paper": "x", "regime": "none", "edits": ("nothing",)}
    with pytest.raises(ContractError):
        MethodCard(**{**fields, **bad})


def test_names_are_read_without_torch() -> None:
    code = (
        "import sys; from methods.common.registry import Registry; names = Registry().names();"
        "assert 'lip' in names and 'ccup' in names, names; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reference_rows_come_first_and_file_names_are_names() -> None:
    registry = REGISTRY
    rows = [registry.declaration(n).card.paper == "reference row" for n in registry.names()]
    assert rows == sorted(rows, reverse=True)
    for name in registry.names():
        declaration = registry.declaration(name)
        assert declaration.path.stem == name == declaration.card.name
        assert registry.method_class(name).card == declaration.card


def test_a_card_that_calls_foreign_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import os\nCARD = os.getcwd()\n")
    with pytest.raises(ContractError, match=r"bad\.py"):
        read_method(path)


def test_plugin_is_found_imported_and_its_name_is_unique(tmp_path: Path) -> None:
    path = tmp_path / "copied.py"
    path.write_text(PLUGIN)
    registry = Registry([path])
    assert registry.method_class("copied").__name__ == "Nullspace"
    with pytest.raises(ContractError, match="taken"):
        Registry([path, path])
    with pytest.raises(ContractError, match="does not exist"):
        Registry([tmp_path / "absent.py"])
    path.write_text("x = 1\n")
    with pytest.raises(ContractError, match="CARD"):
        Registry([path])


def test_source_hash_changes_for_the_edited_file_only_and_with_its_meaning_only(tmp_path: Path) -> None:
    path = tmp_path / "copied.py"
    path.write_text(PLUGIN)
    registry = Registry([path])
    before = {n: registry.source_hash(n) for n in registry.names()}
    assert len(set(before.values())) == len(before)
    path.write_text(PLUGIN + "# edited\n")
    assert {n: registry.source_hash(n) for n in before} == before
    path.write_text(PLUGIN + "SIZE = 1\n")
    after = {n: registry.source_hash(n) for n in before}
    assert {n for n in before if before[n] != after[n]} == {"copied"}


MODERN = '''"""A card that uses what typing offers."""
from __future__ import annotations
import math
import typing as t
from dataclasses import dataclass as frozen
from typing import Literal as OneOf, Optional
from methods.common.card import MethodCard as Card, hyper as h

Mode = OneOf["a", "b"]
RATE = 10 ** -3
NEVER = open("/nowhere")
CARD = Card(name="modern", title="x", paper="p", regime="none", edits=("visual",))

@frozen(frozen=True)
class Hyperparameters:
    a: Optional[float] = h(None, source="s")
    b: "float | None" = h(0.5, source="s", low=0.0)
    c: Mode = h("a", source="s")
    d: t.Literal[1, 2] = h(1, source="s")
    e: tuple[float, ...] = h((1.0, 2.0), source="s", low=0)
    f: float = h(RATE, source="s", high=math.pi)
    g: t.Union[int, None] = h(3, source="s")
'''


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a": 3}, 3.0),
        ({"a": None}, None),
        ({"b": None}, None),
        ({"c": "b"}, "b"),
        ({"d": 2}, 2),
        ({"e": [1, 2.5]}, (1.0, 2.5)),
        ({"f": 3}, 3.0),
        ({"g": None}, None),
    ],
    ids=str,
)
def test_annotations_are_read_as_typing_reads_them(given: dict[str, object], kept: object, tmp_path: Path) -> None:
    (tmp_path / "modern.py").write_text(MODERN)
    found = read_method(tmp_path / "modern.py")
    assert found is not None
    ((name, _),) = given.items()
    value = getattr(resolve(found.hyperparameters, "small", given), name)
    assert value == kept and type(value) is type(kept)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"a": "x"}, "not float or None"),
        ({"b": -1}, "out of its range"),
        ({"c": "z"}, "one of a, b"),
        ({"d": True}, "one of 1, 2"),
        ({"e": [1, -2]}, "out of its range"),
        ({"e": 1}, "a list of float"),
        ({"g": 2.5}, "not int or None"),
    ],
    ids=str,
)
def test_values_that_do_not_fit_their_annotations(given: dict[str, object], says: str, tmp_path: Path) -> None:
    (tmp_path / "modern.py").write_text(MODERN)
    found = read_method(tmp_path / "modern.py")
    assert found is not None
    with pytest.raises(HyperparameterError, match=says):
        resolve(found.hyperparameters, "small", given)
