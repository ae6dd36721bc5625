"""What `import benchmark` offers: models, data sets, unlearning, measuring, suites and leaderboards from Python.

The command line calls the same functions. The examples in the docstrings run as they stand, on the embedded world, one
after another, with `import benchmark as cub`.
"""

from benchmark.api.loading import load_dataset, load_model
from benchmark.api.suites import (
    RunResult,
    leaderboard,
    list_datasets,
    list_measures,
    list_methods,
    list_models,
    list_suites,
    run,
)
from benchmark.api.unlearning import audit, evaluate, export, unlearn

__all__ = [
    "RunResult",
    "audit",
    "evaluate",
    "export",
    "leaderboard",
    "list_datasets",
    "list_measures",
    "list_methods",
    "list_models",
    "list_suites",
    "load_dataset",
    "load_model",
    "run",
    "unlearn",
]
