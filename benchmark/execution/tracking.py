"""Experiment tracking: Lightning's CSV logger, any other of its loggers by configuration, and Weights & Biases.

A Weights & Biases run has the cell key as its id, the suite as its group and the record's metrics as its summary; where
weights are saved, they and the record are its artifact. At the end one more run holds the leaderboard as a table and
what forgetting costs as plots. `offline` needs no account: `wandb sync` uploads it later.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.execution.loggers import LoggerSetting, Together, loggers_for
from benchmark.records.cell import Cell
from benchmark.records.record import Record
from benchmark.utils.table import records
from datamodules.common.errors import BenchmarkError
from datamodules.common.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch.loggers import Logger

WandbMode = Literal["off", "offline", "online"]
PROJECT = "clip-unlearning-benchmark"
SUPERSEDED = "superseded"
LONGEST_RUN_NAME = 128
"""Characters of a run's name, its id or its group."""
LONGEST_NAME = 32
"""Characters of a plot's name; the whole name of its table may have 128, the suite's among them."""


@dataclass
class Tracker:
    """Makes the logger of each cell and closes it with the record's metrics.

    Attributes:
        folder: Logs are written below it; None logs nothing.
        wandb: "offline" or "online" for Weights & Biases.
        loggers: Further ones by configuration; with neither, CSV files are written.
    """

    folder: Path | None
    wandb: WandbMode = "off"
    loggers: tuple[LoggerSetting, ...] = ()
    _current: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.wandb != "off":
            _import_wandb()
        for setting in self.loggers:
            setting.check()

    def logger(self, cell: Cell) -> Logger | None:
        """The logger of a cell's unlearning."""
        if self.folder is None:
            return None
        if self.loggers:
            self.close()
            name = run_name(f"{cell.method}-{cell.request}", f"-{cell.seed}")
            further = loggers_for(self.loggers, cell, self.folder / "logs", name)
            wandb = [] if self.wandb == "off" else [self._wandb_logger(cell, self.folder)]
            self._current["further"] = further
            return Together([further, *wandb])
        if self.wandb == "off":
            from lightning.pytorch.loggers import CSVLogger

            version = cell.key[:12]
            shutil.rmtree(self.folder / "logs" / cell.suite / version, ignore_errors=True)
            return CSVLogger(self.folder / "logs", name=cell.suite, version=version)
        return self._wandb_logger(cell, self.folder)

    def _wandb_logger(self, cell: Cell, folder: Path) -> Logger:
        from lightning.pytorch.loggers import WandbLogger

        self.close()
        os.environ.setdefault("WANDB_SILENT", "true")
        _set_earlier_aside(folder, cell.key)
        logger = WandbLogger(
            project=PROJECT,
            id=cell.key,
            name=run_name(f"{cell.method}-{cell.request}", f"-{cell.seed}"),
            group=run_name(cell.suite),
            mode=self.wandb,  # `offline=True` would set WANDB_MODE, and a later online run of this process stay offline
            save_dir=str(folder),  # older versions of wandb refuse a Path
            config=cell.identity(),
            resume="allow",
        )
        self._current["logger"] = logger
        return logger

    def summarise(self, record: Record, weights: Path | None = None) -> None:
        """Write the metrics and the cost of a finished cell into its log or its run's summary, and end it.

        Args:
            record: What the cell found.
            weights: The file of its unlearned weights, beside the record's; they become an artifact.
        """
        logger, further = self._current.get("logger"), self._current.get("further")
        summary = {name: metric.value for name, metric in record.metrics.items() if metric.value is not None}
        summary |= {f"cost/{name}": value for name, value in record.cost.items() if value is not None}
        if further is not None:
            further.log_metrics(summary)
        if logger is None:
            self.close()
            return
        logger.experiment.summary.update(summary)
        if weights is not None:
            logger.experiment.log_artifact(_artifact(record, weights))
        self.close()

    def leaderboard(self, suite: str, rows: pd.DataFrame, points: pd.DataFrame) -> None:
        """Log the leaderboard as a table, and the Pareto plots, in a run of its own.

        Args:
            suite: Names the run.
            rows: The leaderboard.
            points: What forgetting costs, see `benchmark.leaderboards.pareto.pareto_points`.
        """
        if self.wandb == "off" or self.folder is None or rows.empty:
            return
        import wandb

        self.close()
        identity = run_name(f"leaderboard-{suite}")
        _set_earlier_aside(self.folder, identity)
        run = wandb.init(
            project=PROJECT,
            id=identity,
            name=identity,
            group=run_name(suite),
            dir=str(self.folder),
            mode=self.wandb,
            resume="allow",
        )
        run.log({"leaderboard": _table(rows)})
        if not points.empty:
            run.log({"pareto": _table(points)})
            for board, board_points in points.groupby("board", sort=False):
                plot = wandb.plot.scatter(_table(board_points), "forget", "retain", title=str(board))
                run.log({f"pareto/{_short(str(board))}": plot})
        run.finish()

    def close(self, *, failed: bool = False) -> None:
        """End the run in progress, if any."""
        further = self._current.pop("further", None)
        if further is not None:
            further.end("failed" if failed else "success")
        logger = self._current.pop("logger", None)
        if logger is not None:
            logger.experiment.finish(exit_code=int(failed))


def _import_wandb() -> None:
    """Import wandb before any work, and only where it is asked for.

    Raises:
        BenchmarkError: If it cannot be imported.
    """
    try:
        import wandb  # noqa: F401
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise BenchmarkError(
            f"wandb cannot be imported ({reason}): `pip install -U wandb`, or leave out --wandb"
        ) from error


def _set_earlier_aside(folder: Path, identity: str) -> None:
    """Move what earlier attempts at a run logged offline to `wandb/superseded`, where `wandb sync` does not look.

    A killed attempt has the same identity as the one that ends: both uploaded, each step would be there twice.
    """
    logs = folder / "wandb"
    logs.mkdir(parents=True, exist_ok=True)
    for earlier in sorted(logs.glob(f"offline-run-*-{glob.escape(identity)}")):
        (logs / SUPERSEDED).mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # another process that shares the folder was first
            earlier.rename(logs / SUPERSEDED / earlier.name)


def run_name(text: str, end: str = "") -> str:
    """A name that the server takes: it refuses longer ones at `wandb sync`, when the run is over.

    Args:
        text: What it says; beyond `LONGEST_RUN_NAME` characters a digest of the whole stands for its end.
        end: What it ends with in any case.
    """
    if len(text + end) <= LONGEST_RUN_NAME:
        return text + end
    digest = f"-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return text[: LONGEST_RUN_NAME - len(digest) - len(end)] + digest + end


def _short(board: str) -> str:
    """A board's name as Weights & Biases takes it: few characters, only some of them allowed; one a board."""
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", board).strip("-")
    return f"{words[:LONGEST_NAME]}-{hashlib.sha256(board.encode()).hexdigest()[:6]}"


def _table(frame: pd.DataFrame) -> Any:
    import wandb

    return wandb.Table(columns=[*frame], data=[[*row.values()] for row in records(frame)])


def _artifact(record: Record, weights: Path) -> Any:
    """The edited tensors of a cell and its record, under the names that they have in a results folder."""
    import wandb

    about = f"put the files into results/runs/{record.cell['suite']}/, then: python -m benchmark export KEY DIR"
    artifact = wandb.Artifact(f"model-{record.key[:12]}", type="model", description=about, metadata=record.cell)
    for path in (weights, weights.with_suffix(".npz"), weights.with_suffix(".json")):
        artifact.add_file(str(path), name=path.name)
    return artifact
