"""The trials of searches, kept for good: how much tuning gives, and how much a method depends on its rate.

A compact JSON line a trial, beside the values that were found (`tuned.trials.jsonl`) and in the folder of the user's
trials (`trials.jsonl`). A search that is run again replaces its lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from benchmark.suites.tuned_group import Kind, Score
from datamodules.common.documents import Document, DocumentError
from datamodules.common.kept_files import read_file, replace_file
from datamodules.common.validation import STRICT, filled

TUNED = Path(__file__).parent / "tuned.yaml"
"""The values that come with the project."""
FOLDER = "tuning"
"""The records of trials are kept in this folder of the results, so that no leaderboard of runs shows them."""
FILE = "trials.jsonl"
"""The trials' file in that folder."""


@dataclass(frozen=True)
class KeptTrial:
    """One trial of a search.

    Attributes:
        method: Registry name.
        dataset: On which it was tuned.
        kind: Of the requests.
        model: As it was named, without its folder.
        weights: What identifies them.
        revision: Of the data set.
        suite: The tuning suite.
        source: The beginning of the method's source hash.
        seed: Of the search.
        number: From 0, the settings before tuning.
        rate: The hyperparameter that is the learning rate; empty where none is searched.
        values: Of the hyperparameters that were searched.
        score: What was searched for.
        means: The means of Q and S over the requests; null where one is missing.
        requests: Both by request.
        seconds: Of unlearning, the mean over the requests; null where it failed.
        stopped: Whether it ended after its first request, where others were better: its means are null.
    """

    __pydantic_config__: ClassVar = STRICT

    method: str
    dataset: str
    kind: Kind
    model: str
    weights: str
    revision: str
    suite: str
    source: str
    seed: int
    number: int
    rate: str
    values: Mapping[str, Any]
    score: Score
    means: Mapping[str, float | None]
    requests: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    seconds: float | None = None
    stopped: bool = False

    @property
    def search(self) -> tuple[str, str, str, str]:
        """What is searched once: data set, kind of request, weights and method."""
        return self.dataset, self.kind, self.weights, self.method

    @property
    def objective(self) -> float | None:
        """The mean of what was searched for; None where the trial failed or was stopped."""
        return self.means.get(self.score)


def trials_file(values: Path = TUNED) -> Path:
    """Where the trials lie whose best are the values of a file."""
    return values.with_suffix(".trials.jsonl")


def load_trials(path: Path) -> list[KeptTrial]:
    """The trials of a file, by search and number; none where there is no file. A damaged line is passed over."""
    try:
        lines = read_file(path).splitlines()
    except FileNotFoundError:
        return []
    trials = []
    for number, line in enumerate(lines, start=1):
        try:
            trials.append(filled(KeptTrial, Document(json.loads(line), None, f"{path.name}, line {number}")))
        except (ValueError, RecursionError, DocumentError):
            continue
    return sorted(trials, key=lambda trial: (trial.search, trial.number))


def save_trials(path: Path, trials: Sequence[KeptTrial]) -> None:
    """Put the trials of searches into a file, whole or not at all, in the place of earlier ones of the same searches.

    Raises:
        CannotWriteError: If the disk is full or refuses it.
    """
    searches = {trial.search for trial in trials}
    others = [trial for trial in load_trials(path) if trial.search not in searches]
    replace_file(path, "".join(map(_line, sorted([*others, *trials], key=_order))).encode())


def by_search(trials: Iterable[KeptTrial]) -> dict[tuple[str, str, str, str], list[KeptTrial]]:
    """Trials by what was searched, each in the order of its trials."""
    searches: dict[tuple[str, str, str, str], list[KeptTrial]] = {}
    for trial in sorted(trials, key=_order):
        searches.setdefault(trial.search, []).append(trial)
    return searches


def _order(trial: KeptTrial) -> tuple[tuple[str, str, str, str], int]:
    return trial.search, trial.number


def _line(trial: KeptTrial) -> str:
    return json.dumps(asdict(trial), sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"
