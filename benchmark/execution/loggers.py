"""Any of Lightning's loggers by configuration: which one, what it is given, and where it writes.

    tensorboard                                                   one of `KNOWN`
    lightning.pytorch.loggers.MLFlowLogger                        any class, also your own
    {class_path: mlflow, init_args: {tracking_uri: http://...}}   with arguments, here or in a YAML file

What its arguments do not say is taken from the cell, where the class has a parameter of that name: `save_dir`, `name`
and `version` so that each cell has a folder of its own, `experiment_name`, `run_name`, `project`, `group`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import Logger

from benchmark.records.cell import Cell
from datamodules.common.documents import Document, DocumentError, load_yaml, parse_yaml
from datamodules.common.errors import BenchmarkError
from datamodules.common.text import one_line
from datamodules.common.validation import STRICT, filled

KNOWN = {
    "csv": ("lightning.pytorch.loggers.CSVLogger", ""),
    "tensorboard": ("lightning.pytorch.loggers.TensorBoardLogger", "tensorboard"),
    "mlflow": ("lightning.pytorch.loggers.MLFlowLogger", "mlflow"),
    "comet": ("lightning.pytorch.loggers.CometLogger", "comet-ml"),
}
"""Short names of Lightning's loggers, and the package that each needs."""
WANDB = ("wandb", "lightning.pytorch.loggers.WandbLogger", "pytorch_lightning.loggers.WandbLogger")
"""Weights & Biases has an option of its own: runs, leaderboard and models go there together."""
_MLFLOW = os.environ.get("MLFLOW_TRACKING_URI", "")
"""Where the user's MLflow is, read once: Lightning's logger sets the variable itself as soon as it writes."""


class LoggerError(BenchmarkError):
    """A logger that does not exist, cannot be built, or needs a package that is not installed."""


@dataclass(frozen=True)
class LoggerSetting:
    """A logger as it is configured, in jsonargparse's form.

    Attributes:
        class_path: Its class, or one of `KNOWN`.
        init_args: What it is given.
    """

    __pydantic_config__: ClassVar = STRICT

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: str | Mapping[str, Any]) -> LoggerSetting:
        """A logger as a user gives it: a name, a class path, a YAML mapping, or the YAML file of one.

        Raises:
            LoggerError: If it is none of these, or is Weights & Biases.
        """
        try:
            setting = cls._filled(given)
        except DocumentError as error:
            raise LoggerError(f"logger: {error}") from error
        if setting.class_path in WANDB:
            raise LoggerError("Weights & Biases has an option of its own: --wandb offline, or --wandb online")
        if setting.class_path not in KNOWN and "." not in setting.class_path:
            raise LoggerError(
                f"unknown logger {setting.class_path!r}: use {', '.join(KNOWN)}, or the path of a class such as "
                f"{KNOWN['mlflow'][0]}"
            )
        return setting

    @classmethod
    def _filled(cls, given: str | Mapping[str, Any]) -> LoggerSetting:
        if isinstance(given, Mapping):
            return filled(cls, Document(dict(given), None, "logger"))
        if given.lstrip().startswith("{"):
            return filled(cls, parse_yaml(given, "--logger"))
        if given.endswith((".yaml", ".yml")):
            return filled(cls, Document(load_yaml(Path(given)), None, Path(given).name))
        return cls(given)

    @property
    def path(self) -> str:
        """The path of its class."""
        return KNOWN.get(self.class_path, (self.class_path, ""))[0]

    def check(self) -> None:
        """Build it once, for nothing, before any work.

        Raises:
            LoggerError: If it cannot be built.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.build(_about(Path(folder), "check", "check", "check"))

    def build(self, about: Mapping[str, Any]) -> Logger:
        """The logger.

        Args:
            about: What it takes of the run, by parameter, where the setting does not say it.

        Raises:
            LoggerError: If its class does not exist, an argument does not fit, or a package is missing.
        """
        from jsonargparse import ArgumentParser

        try:
            kind = _imported(self.path)
            taken = {name: value for name, value in about.items() if name in inspect.signature(kind).parameters}
            parser = ArgumentParser(exit_on_error=False)
            parser.add_class_arguments(kind, "logger", instantiate=False)
            given = parser.instantiate(parser.parse_object({"logger": {**taken, **self.init_args}}))
            return kind(**given.logger.as_dict())
        except LoggerError:
            raise
        except ModuleNotFoundError as error:
            needed = KNOWN.get(self.class_path, ("", ""))[1] or str(error.name or "the package that it names")
            raise LoggerError(
                f"logger {self.class_path!r} cannot be built: {one_line(str(error))[:160]}; "
                f"install it (`pip install {needed}`), or leave out --logger"
            ) from error
        except Exception as error:
            raise LoggerError(f"logger {self.class_path!r} cannot be built: {one_line(str(error))[:200]}") from error


class Together(Logger):
    """Several loggers as one, which stays open when the unlearning ends: `end` closes it when the record is there.

    Args:
        loggers: At least one.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        super().__init__()
        self._loggers = tuple(loggers)

    @property
    def name(self) -> str | None:
        """The first one's."""
        return self._loggers[0].name

    @property
    def version(self) -> int | str | None:
        """The first one's."""
        return self._loggers[0].version

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Tell each."""
        for logger in self._loggers:
            logger.log_metrics(metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Tell each."""
        for logger in self._loggers:
            logger.log_hyperparams(params, *args, **kwargs)

    def save(self) -> None:
        """Let each write what it holds."""
        for logger in self._loggers:
            logger.save()

    def finalize(self, status: str) -> None:
        """Nothing yet: the numbers of the record come after the unlearning."""

    def end(self, status: str) -> None:
        """Close each.

        Args:
            status: "success" or "failed".
        """
        for logger in self._loggers:
            logger.save()
            logger.finalize(status)


def _about(folder: Path, suite: str, version: str, run_name: str) -> dict[str, Any]:
    """What loggers may take of a cell, by parameter."""
    about = {"save_dir": str(folder), "name": suite, "version": version}
    about |= {"experiment_name": suite, "run_name": run_name, "project": suite, "group": suite}
    about["tracking_uri"] = _MLFLOW or f"sqlite:///{folder / 'mlflow.db'}"  # files, its default, are no longer taken
    return about


def _imported(path: str) -> type[Logger]:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise LoggerError(f"there is no {name} in {module}") from error
    if not isinstance(kind, type) or not issubclass(kind, Logger):
        raise LoggerError(f"{path} is no Logger of lightning.pytorch")
    return kind


def loggers_for(settings: Sequence[LoggerSetting], cell: Cell, folder: Path, run_name: str) -> Together:
    """The loggers of a cell, as one; what an earlier attempt at it left in its folder is removed.

    Args:
        settings: Which; at least one.
        cell: What they log.
        folder: Below which they write.
        run_name: The cell in a few words.
    """
    version = cell.key[:12]
    shutil.rmtree(folder / cell.suite / version, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    built = [setting.build(_about(folder, cell.suite, version, run_name)) for setting in settings]
    for logger in built:
        logger.log_hyperparams(dict(cell.identity()))
    return Together(built)
