"""A benchmark of methods that remove a class or a concept from a trained CLIP. `python -m benchmark --help`.

From Python:

    import benchmark as cub

    clip = cub.load_model("shapes-resnet")
    data = cub.load_dataset("shapes", clip)
    result = cub.unlearn(clip, "ccup", data, classes=["star"])
    cub.evaluate(result).to_pandas()

Names are fetched when they are asked for: importing this package imports neither PyTorch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import RunResult as RunResult
    from benchmark.api import audit as audit
    from benchmark.api import evaluate as evaluate
    from benchmark.api import export as export
    from benchmark.api import leaderboard as leaderboard
    from benchmark.api import list_datasets as list_datasets
    from benchmark.api import list_measures as list_measures
    from benchmark.api import list_methods as list_methods
    from benchmark.api import list_models as list_models
    from benchmark.api import list_suites as list_suites
    from benchmark.api import load_dataset as load_dataset
    from benchmark.api import load_model as load_model
    from benchmark.api import run as run
    from benchmark.api import unlearn as unlearn
    from benchmark.execution.single import EvaluationResult as EvaluationResult
    from benchmark.execution.single import UnlearningResult as UnlearningResult
    from benchmark.leaderboards.leaderboard import Leaderboard as Leaderboard
    from benchmark.records.record import Metric as Metric
    from benchmark.records.record import Record as Record
    from benchmark.suites.overview import Overview as Overview
    from datamodules.common.dataset import Dataset as Dataset
    from datamodules.common.errors import BenchmarkError as BenchmarkError
    from methods.common.clip import Clip as Clip

__version__ = "0.1.0"
_API = (
    *("load_model", "load_dataset", "unlearn", "evaluate", "audit", "export", "run", "leaderboard", "RunResult"),
    *("list_methods", "list_datasets", "list_models", "list_suites", "list_measures"),
)
_PLACES = {
    **dict.fromkeys(_API, "benchmark.api"),
    "EvaluationResult": "benchmark.execution.single",
    "UnlearningResult": "benchmark.execution.single",
    "Leaderboard": "benchmark.leaderboards.leaderboard",
    "Metric": "benchmark.records.record",
    "Record": "benchmark.records.record",
    "Overview": "benchmark.suites.overview",
    "Dataset": "datamodules.common.dataset",
    "BenchmarkError": "datamodules.common.errors",
    "Clip": "methods.common.clip",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
