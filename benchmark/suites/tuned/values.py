"""The values that tuning found: `tuned.yaml`, and a suite that takes them.

    METHOD:
      values: {NAME: VALUE, ...}        # of the hyperparameters that were searched
      objective: 0.12                   # mean S over the tuning suite's requests, lower is better
      untuned_objective: 0.30           # of the untuned default; null where that failed
      trials: 12                        # settings tried, the untuned default among them
      failed: 0                         # of them
      suite: development
      model: shapes-resnet
      command: python -m benchmark tune METHOD
      commit: 0123abc
      method_source: 0123abc            # the beginning of the method's source hash

A file holds one budget: the same number of trials on one suite and model for all methods. It is part of the key of
every cell of a tuned run and of its board, so tuned and untuned rows, or rows of two budgets, never meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from benchmark.suites.expansion import methods_of, scale_of
from benchmark.suites.suite import Suite, Variant
from benchmark.suites.tuned.space import SMALL, competes, space_of
from datamodules.common.documents import DocumentError, parse_yaml, read_text
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import replace_file, temporary_name
from datamodules.common.validation import STRICT, filled
from methods.common.registry import Registry

TUNED = Path(__file__).parent / "tuned.yaml"
SOURCE_DIGITS = 16
_HEAD = "# Written by `python -m benchmark tune`, one method at a time: do not edit by hand.\n"
_DIGEST = "# sha256 of what follows: "


class TunedError(BenchmarkError):
    """A file of tuned values that cannot be read, or does not fit what is asked of it."""


@dataclass(frozen=True)
class Tuned:
    """What tuning found for one method; the attributes are those of the file."""

    __pydantic_config__: ClassVar = STRICT

    values: Mapping[str, Any]
    objective: float
    untuned_objective: float | None
    trials: int
    failed: int
    suite: str
    model: str
    command: str
    commit: str | None
    method_source: str

    @property
    def budget(self) -> str:
        """What one board of tuned rows shares."""
        return budget_of(self.trials, self.suite, self.model)


def budget_of(trials: int, suite: str, model: str) -> str:
    """A budget in words: how many trials, on which suite and model."""
    return f"{trials} trials on {suite}, {model}"


def load_tuned(path: Path = TUNED) -> dict[str, Tuned]:
    """The tuned values by method; none where there is no file.

    Raises:
        TunedError: If the file is not of that shape, or holds two budgets.
    """
    if not path.exists():
        return {}
    try:
        document = parse_yaml(_checked(path), path.name)
        entries = {} if document.content is None else filled(dict[str, Tuned], document)
    except DocumentError as error:
        raise TunedError(str(error)) from error
    budgets = {entry.budget: name for name, entry in entries.items()}
    if len(budgets) > 1:
        (one, first), (two, second), *_ = budgets.items()
        raise TunedError(f"{path.name}: {first!r} has {one}, but {second!r} {two}; one file holds one budget")
    return entries


def _checked(path: Path) -> str:
    """The text of a file below its digest.

    Raises:
        OSError: If it cannot be read.
        TunedError: If it is not what `save_tuned` wrote.
    """
    head, _, text = read_text(path).removeprefix(_HEAD).partition("\n")
    if head != _DIGEST + hashlib.sha256(text.encode()).hexdigest():
        raise TunedError(
            f"{path} was changed by hand or is damaged: restore it, or remove it and run `python -m benchmark tune`"
        )
    return text


def check_room(path: Path, budget: str) -> None:
    """Find out before any work whether values of a budget may be added to a file.

    Raises:
        TunedError: If the file holds another budget, or cannot be written.
    """
    budgets = {entry.budget for entry in load_tuned(path).values()}
    if budgets - {budget}:
        raise TunedError(f"{path} holds values of {budgets.pop()}, not of {budget}: name another file with --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TunedError(f"{path} cannot be written ({error.strerror or error}): name another with --out") from error


def save_tuned(path: Path, method: str, entry: Tuned) -> None:
    """Put a method's values into a file, whole or not at all; those of the other methods stay.

    Raises:
        TunedError: If the file holds another budget.
    """
    check_room(path, entry.budget)
    entries = {**load_tuned(path), method: entry}
    plain = {name: {**asdict(entry), "values": dict(entry.values)} for name, entry in sorted(entries.items())}
    replace_file(path, tuned_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)).encode())


def tuned_text(content: str) -> str:
    """A file of tuned values as text, from its YAML."""
    return f"{_HEAD}{_DIGEST}{hashlib.sha256(content.encode()).hexdigest()}\n{content}"


def with_tuned(suite: Suite, registry: Registry, path: Path = TUNED) -> tuple[Suite, list[str]]:
    """A suite whose methods take their tuned values, and what the user must know of it, one line each.

    Reference rows and methods with nothing to tune run as they are; ranked methods that are not tuned are left out.
    Variants that set only what is not searched (the protocol, such as which names are retained) stay, with the tuned
    values of their method beside it.

    Args:
        suite: With the command line's overrides already applied.
        registry: The methods.
        path: The file of the values.

    Raises:
        TunedError: If nothing is tuned, if a model has published defaults, or if the suite sets hyperparameters too.
    """
    for model in suite.every_model:
        if scale_of(model) != SMALL:
            raise TunedError(
                f"model {model!r} keeps the published defaults: tuned values are for the small CLIPs; leave out --tuned"
            )
    if suite.hparams or suite.by_request or any(_sets_tuned(variant, registry) for variant in suite.variants):
        raise TunedError(
            f"a tuned run takes every value from {path.name}: leave out --set, and a suite that sets hyperparameters"
        )
    entries = load_tuned(path)
    if not entries:
        raise TunedError(f"nothing is tuned yet in {path}: run `python -m benchmark tune --all`")
    chosen, missing, notes = [], [], []
    for name in methods_of(suite, registry):
        if name not in entries and competes(registry, name) and space_of(registry, name).dimensions:
            missing.append(name)
            continue
        chosen.append(name)
        if name in entries and not registry.source_hash(name).startswith(entries[name].method_source):
            notes.append(f"{name!r} changed since it was tuned: tune it again with `python -m benchmark tune {name}`")
    if missing:
        way = f"`python -m benchmark tune {missing[0]}`" + (" or `tune --all`" if len(missing) > 1 else "")
        which = "1 method is" if len(missing) == 1 else f"{len(missing)} methods are"
        line = f"{which} not tuned and left out ({', '.join(missing)}): run {way}"
        if not chosen:
            raise TunedError(f"no method is left to run: {line}")
        notes.append(line)
    values = {name: dict(entries[name].values) for name in chosen if name in entries}
    variants = tuple(variant for variant in suite.variants if variant.method in chosen)
    budget = next(iter(entries.values())).budget
    return replace(suite, methods=tuple(chosen), hparams=values, variants=variants, tuned=budget), notes


def _sets_tuned(variant: Variant, registry: Registry) -> bool:
    return bool(set(variant.hparams) & set(space_of(registry, variant.method).dimensions))
