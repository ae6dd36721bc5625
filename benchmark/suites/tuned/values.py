"""The values that tuning found: `tuned.yaml`, and a suite that takes them.

    - method: ccup
      dataset: shapes
      kind: class                       # or concept: the two are tuned apart
      model: shapes-resnet
      weights: compact:0123abcd         # what identifies the weights: other weights do not take these values
      revision: shapes-1-0123abcd       # of the data set
      values: {NAME: VALUE, ...}        # of the hyperparameters that were searched
      score: Q                          # what was searched for: Q (higher is better), or S (lower) where there is no Q
      objective: 0.62                   # the mean over the requests of the tuning suite
      untuned: 0.30                     # of the settings before tuning; null where they failed
      trials: 24                        # settings tried, those before tuning among them
      failed: 0                         # of them
      suite: development
      command: python -m benchmark tune ccup
      commit: 0123abc
      method_source: 0123abc            # the beginning of the method's source hash

All methods of one data set, model and kind of request have one budget: as many trials on the same suite. It is part of
the key of every cell of a tuned run and of its board, so tuned and untuned rows, or rows of two budgets, never meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from benchmark.models.naming import model_identity
from benchmark.records.record import without_folder
from benchmark.suites.expansion import hyperparameters_of, methods_of
from benchmark.suites.suite import Suite, Variant
from benchmark.suites.tuned.space import SMALL, competes, space_of
from benchmark.suites.tuned.trials import TUNED
from benchmark.suites.tuned_group import Kind, Score, TunedGroup, tuned_kind
from benchmark.suites.wanted import scale_of
from datamodules.common.dataset import Dataset
from datamodules.common.documents import DocumentError, parse_yaml, read_text
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import replace_file, temporary_name
from datamodules.common.validation import STRICT, filled
from datamodules.development import development_revision
from methods.common.registry import Registry

SOURCE_DIGITS = 16
_HEAD = "# Written by `python -m benchmark tune`, one method at a time: do not edit by hand.\n"
_DIGEST = "# sha256 of what follows: "


class TunedError(BenchmarkError):
    """A file of tuned values that cannot be read, or does not fit what is asked of it."""


@dataclass(frozen=True)
class Tuned:
    """What tuning found for one method on one data set, model and kind of request; the attributes are the file's."""

    __pydantic_config__: ClassVar = STRICT

    method: str
    dataset: str
    kind: Kind
    model: str
    weights: str
    revision: str
    values: Mapping[str, Any]
    score: Score
    objective: float
    untuned: float | None
    trials: int
    failed: int
    suite: str
    command: str
    commit: str | None
    method_source: str

    @property
    def budget(self) -> str:
        """What one board of tuned rows shares."""
        return budget_of(self.trials, self.suite, self.model)

    @property
    def group(self) -> tuple[str, str, str]:
        """What has one budget: weights, data set and kind of request."""
        return self.weights, self.dataset, self.kind

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Where it stands in the file: data set, kind of request, weights and method, of which there is one each."""
        return self.dataset, self.kind, self.weights, self.method


def budget_of(trials: int, suite: str, model: str) -> str:
    """A budget in words: how many trials, on which suite and model."""
    return f"{trials} trials on {suite}, {without_folder(model)}"


def load_tuned(path: Path = TUNED) -> tuple[Tuned, ...]:
    """The tuned values of a file; none where there is no file.

    Raises:
        TunedError: If the file is not of that shape, holds one method twice, or two budgets for the same models.
    """
    if not path.exists():
        return ()
    try:
        document = parse_yaml(_checked(path), path.name)
        entries = () if document.content is None else tuple(filled(list[Tuned], document))
    except DocumentError as error:
        raise TunedError(str(error)) from error
    budgets: dict[tuple[str, str, str], Tuned] = {}
    places = set()
    for entry in entries:
        first = budgets.setdefault(entry.group, entry)
        if first.budget != entry.budget:
            raise TunedError(
                f"{path.name}: {first.method!r} has {first.budget}, but {entry.method!r} {entry.budget}: methods of "
                "one board have one budget"
            )
        if entry.place in places:
            raise TunedError(f"{path.name}: {entry.method!r} stands twice for {entry.dataset}, {entry.kind}")
        places.add(entry.place)
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


def check_room(path: Path, budgets: Mapping[tuple[str, str, str], str]) -> None:
    """Find out before any work whether values of some budgets may be added to a file.

    Args:
        path: The file.
        budgets: By weights, data set and kind of request.

    Raises:
        TunedError: If the file holds another budget for one of them, or cannot be written.
    """
    for entry in load_tuned(path):
        if budgets.get(entry.group, entry.budget) != entry.budget:
            raise TunedError(
                f"{path} holds values of {entry.budget}, not of {budgets[entry.group]}: name another file with --out"
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TunedError(f"{path} cannot be written ({error.strerror or error}): name another with --out") from error


def save_tuned(path: Path, entry: Tuned) -> None:
    """Put a method's values into a file, whole or not at all; all others stay.

    Raises:
        TunedError: If the file holds another budget for the same models.
    """
    check_room(path, {entry.group: entry.budget})
    entries = {old.place: old for old in load_tuned(path)} | {entry.place: entry}
    plain = [{**asdict(entries[place]), "values": dict(entries[place].values)} for place in sorted(entries)]
    replace_file(path, tuned_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)).encode())


def tuned_text(content: str) -> str:
    """A file of tuned values as text, from its YAML."""
    return f"{_HEAD}{_DIGEST}{hashlib.sha256(content.encode()).hexdigest()}\n{content}"


def with_tuned(suite: Suite, registry: Registry, path: Path = TUNED) -> tuple[Suite, list[str]]:
    """A suite whose methods take their tuned values, and what the user must know of it, one line each.

    Reference rows and methods with nothing to tune run as they are; ranked methods that are not tuned for a data set,
    model and kind of request are left out there. Variants that set only what is not searched (the protocol, such as
    which names are retained) stay, with the tuned values of their method beside it.

    A suite that asks for tuned settings itself leaves nothing out: what is not tuned keeps the declared values, as do
    models that have published ones, and one line says which methods of a tuned board those are. Its board is the tuned
    one whichever methods are run: `--methods original` makes the same cell as all methods do. A suite may name another
    data set on whose requests of that kind the values were found (`tuned_on`).

    Args:
        suite: With the command line's overrides already applied.
        registry: The methods.
        path: The file of the values.

    Raises:
        TunedError: If nothing is tuned for a model, its weights are others than those tuned for, it has published
            defaults, or the suite sets hyperparameters too; none of these where the suite itself asks.
    """
    all_stay = suite.settings == "tuned"
    for model in () if all_stay else suite.every_model:
        if scale_of(model) != SMALL:
            raise TunedError(
                f"model {model!r} keeps the published defaults: tuned values are for the small CLIPs; leave out --tuned"
            )
    if suite.hparams or suite.by_request or any(_sets_tuned(variant, registry) for variant in suite.variants):
        raise TunedError(
            f"a tuned run takes every value from {path.name}: leave out --set, and a suite that sets hyperparameters"
        )
    entries = load_tuned(path)
    if not entries and not all_stay:
        raise TunedError(f"nothing is tuned yet in {path}: run `python -m benchmark tune --all`")
    methods = methods_of(suite, registry)
    free: dict[str, dict[str, Any]] = {
        name: {} for name in methods if not (competes(registry, name) and space_of(registry, name).dimensions)
    }
    groups: dict[tuple[str, str, str], TunedGroup] = {}
    notes: list[str] = []
    for model, dataset, kind in _wanted(suite):
        source = suite.tuned_on.get(dataset, dataset)
        if all_stay and not _has_values(model, source, kind, entries):
            continue
        of_model = _of_model(model, entries, path)
        if not of_model:
            models = ", ".join(dict.fromkeys(entry.model for entry in entries))
            notes.append(
                f"{path.name} has values for {models}, none for {model!r}, which is left out: tune it with "
                f"`python -m benchmark tune --all --model {model}`, or leave out --tuned"
            )
            continue
        of_kind = [entry for entry in of_model if (entry.dataset, entry.kind) == (source, kind)]
        chosen = {entry.method: entry for entry in of_kind if entry.method in methods}
        missing = [name for name in methods if name not in chosen and name not in free]
        what = f"forget {kind} of {source}, {without_folder(model)}"
        if missing:
            way = f"`python -m benchmark tune {missing[0]}`" + (" or `tune --all`" if len(missing) > 1 else "")
            which = "1 method is" if len(missing) == 1 else f"{len(missing)} methods are"
            kept = "keeps its declared values" if len(missing) == 1 else "keep their declared values"
            fate = kept if all_stay else "left out"
            notes.append(f"{what}: {which} not tuned and {fate} ({', '.join(missing)}): run {way}")
        if not (of_kind if all_stay else chosen):
            continue
        for entry in chosen.values():
            hyperparameters_of(registry, entry.method, SMALL, entry.values)
        changed = [e.method for e in chosen.values() if not registry.source_hash(e.method).startswith(e.method_source)]
        if changed:
            again = f"tune again with `python -m benchmark tune {' '.join(changed)}`"
            notes.append(f"{what}: {', '.join(changed)} changed since the values were found: {again}")
        values = {**free, **{name: dict(entry.values) for name, entry in chosen.items()}}
        revisions = tuple(dict.fromkeys(entry.revision for entry in of_kind))
        groups[model, dataset, kind] = TunedGroup(of_kind[0].budget, values, revisions)
    notes = list(dict.fromkeys(notes))
    if not groups and not all_stay:
        raise TunedError(f"no method is left to run: {notes[0]}")
    return replace(suite, tuned=groups), notes


def _wanted(suite: Suite) -> list[tuple[str, str, str]]:
    """Every model, data set and kind of request of a suite, each once."""
    wanted = (
        (model, task.dataset, tuned_kind(request))
        for task in suite.tasks
        for model in task.models or suite.models
        for request in task.requests
    )
    return list(dict.fromkeys(wanted))


def _has_values(model: str, dataset: str, kind: str, entries: Sequence[Tuned]) -> bool:
    """Whether something was found on the very weights of a small CLIP for a data set and kind of request."""
    of_kind = [entry.weights for entry in entries if (entry.dataset, entry.kind) == (dataset, kind)]
    return bool(of_kind) and scale_of(model) == SMALL and model_identity(model) in of_kind


def _of_model(model: str, entries: Sequence[Tuned], path: Path) -> list[Tuned]:
    """The values that were found on the very weights of a model.

    Raises:
        TunedError: If there are some of a model of its name with other weights, and none of its own.
    """
    weights = model_identity(model)
    matching = [entry for entry in entries if entry.weights == weights]
    named = [entry for entry in entries if entry.model == without_folder(model)]
    if named and not matching:
        raise TunedError(
            f"the values of {path.name} for {named[0].model!r} were found on other weights ({named[0].weights}, not "
            f"{weights}): tune it again with `python -m benchmark tune --all --model {model}`"
        )
    return matching


def revision_notes(suite: Suite, datasets: Mapping[str, Dataset]) -> list[str]:
    """A line for each data set whose images or annotations are others than those on which values were found.

    Args:
        suite: A tuned suite.
        datasets: Its data sets by name, open.
    """
    notes = []
    for (_, dataset, _), group in suite.tuned.items():
        name = suite.tuned_on.get(dataset, dataset)
        today = datasets[name].revision
        if not set(group.revisions) <= {today, development_revision(today)}:
            notes.append(
                f"data set {name}: the tuned values were found on other images or annotations of it; tune again before "
                "numbers are reported"
            )
    return list(dict.fromkeys(notes))


def _sets_tuned(variant: Variant, registry: Registry) -> bool:
    return bool(set(variant.hparams) & set(space_of(registry, variant.method).dimensions))
