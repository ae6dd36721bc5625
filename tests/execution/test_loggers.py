"""Any Lightning logger by configuration: what is written, read back; what is told where it cannot be built."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger
from world import World

from benchmark.execution.loggers import LoggerError, LoggerSetting, loggers_for
from benchmark.records.cell import Cell
from datamodules.common.request import ForgetRequest

pytest_plugins = ("world",)
STAR = ForgetRequest(classes=("star",))
CELLS = ("--methods", "original,cliperase", "--set", "cliperase.max_steps=3,cliperase.batch_size=4", "--seeds", "0")
THEIRS = '''
import json
from pathlib import Path

from lightning.pytorch.loggers import Logger


class Lines(Logger):
    """One line of JSON for all that it is told."""

    def __init__(self, save_dir: str, run_name: str, tag: str = "none") -> None:
        super().__init__()
        self.file, self.tag, self.run_name = Path(save_dir) / "theirs.jsonl", tag, run_name

    name = version = "theirs"

    def _write(self, **content):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as stream:
            stream.write(json.dumps({"run": self.run_name, "tag": self.tag, **content}) + "\\n")

    def log_metrics(self, metrics, step=None):
        self._write(metrics=dict(metrics), step=step)

    def log_hyperparams(self, params, *args, **kwargs):
        self._write(method=params["method"])

    def finalize(self, status):
        self._write(status=status)
'''


def _scalars(folder: Path) -> dict[str, list[float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_holds_the_losses_and_the_record_once_after_a_repeat(short_world: World) -> None:
    pytest.importorskip("tensorboard")
    for options in (CELLS, ("--methods", "original", "--seeds", "0", "--force")):
        answer = short_world.run(*options, "--logger", "tensorboard")
        assert answer.status == 0, answer.err
    records = short_world.records().values()
    assert len(records) == 2
    for record in records:
        scalars = _scalars(short_world.results / "logs" / "tiny" / record.key[:12])
        assert len(scalars.get("loss", ())) == (3 if record.cell["method"] == "cliperase" else 0)
        assert scalars["retain/acc1"] == pytest.approx([record.metrics["retain/acc1"].value])
        assert scalars["cost/unlearn_seconds"] == pytest.approx([record.cost["unlearn_seconds"]], rel=1e-5)
    assert not list((short_world.results / "logs").rglob("metrics.csv"))


class LikeMlflow(CSVLogger):
    """Sets the variable that says where MLflow is as soon as it writes, as Lightning's own logger does."""

    def __init__(self, save_dir: str, tracking_uri: str = "file:elsewhere") -> None:
        super().__init__(save_dir)
        self.tracking_uri = tracking_uri

    def log_hyperparams(self, params: Any = None) -> None:
        os.environ["MLFLOW_TRACKING_URI"] = self.tracking_uri


def test_every_cell_of_a_suite_goes_to_one_database_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    setting = LoggerSetting.read(f"{__name__}.LikeMlflow")
    for seed in range(2):
        cell = Cell("s", "original", "shapes", STAR, "tiny", seed, {}, (), "fp32", "cpu", "", {}, "", "small")
        (logger,) = loggers_for([setting], cell, tmp_path, f"seed {seed}")._loggers
        assert logger.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"  # type: ignore[attr-defined]


def test_a_class_of_one_s_own_beside_another_logger_in_a_suite(
    short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_logger.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    text = short_world.suite.read_text()
    short_world.suite.write_text(
        text + "logger: [csv, {class_path: their_logger.Lines, init_args: {tag: mine}}]\n", encoding="utf-8"
    )
    answer = short_world.run(*CELLS)
    assert answer.status == 0, answer.err
    logs = short_world.results / "logs"
    lines = [json.loads(line) for line in (logs / "theirs.jsonl").read_text().splitlines()]
    assert {line["tag"] for line in lines} == {"mine"}
    assert [line["method"] for line in lines if "method" in line] == ["original", "cliperase"]
    assert [line["status"] for line in lines if "status" in line] == ["success", "success"]
    losses = [line for line in lines if "loss" in line.get("metrics", ())]
    assert [line["step"] for line in losses] == [0, 1, 2] and {line["run"] for line in losses} == {"cliperase-star-0"}
    (record,) = [r for r in short_world.records().values() if r.cell["method"] == "cliperase"]
    (last,) = [
        line["metrics"] for line in lines if "forget/acc1" in line.get("metrics", ()) and "cliper" in line["run"]
    ]
    assert last["forget/acc1"] == record.metrics["forget/acc1"].value
    with (logs / "tiny" / record.key[:12] / "metrics.csv").open() as stream:
        assert sum(bool(row["loss"]) for row in csv.DictReader(stream)) == 3


def test_a_failed_cell_is_told_as_failed(short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_logger.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_logger", raising=False)
    diverging = ("--set", "cliperase.max_steps=3,cliperase.batch_size=4,cliperase.learning_rate=1e30")
    answer = short_world.run("--methods", "cliperase", "--seeds", "0", *diverging, "--logger", "their_logger.Lines")
    assert answer.status == 1
    lines = [json.loads(line) for line in (short_world.results / "logs" / "theirs.jsonl").read_text().splitlines()]
    status = {line["run"]: line["status"] for line in lines if "status" in line}
    assert status["cliperase-star-0"] == "failed"


def test_a_missing_package_is_one_line_before_any_work(short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("comet_ml", "mlflow", "tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "comet_ml", None)
    answer = short_world.run("--methods", "original", "--logger", "comet")
    assert "pip install comet-ml" in answer.error and "leave out --logger" in answer.error
    assert not short_world.records()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("tensorbord", "use csv, tensorboard, mlflow, comet, or the path of a class"),
        ("wandb", "--wandb offline"),
        ("lightning.pytorch.loggers.WandbLogger", "--wandb offline"),
        ("no.such.Logger", "pip install no"),
        ("lightning.pytorch.loggers.NoSuchLogger", "there is no NoSuchLogger"),
        ("pathlib.Path", "is no Logger"),
        ("{class_path: csv, init_args: {flush: 3}}", "flush"),
        ("{class: csv}", "class"),
        ({"class_path": "csv", "init_args": {"flush_logs_every_n_steps": "many"}}, "many"),
    ],
)
def test_what_is_no_logger_is_one_line(given: Any, says: str) -> None:
    with pytest.raises(LoggerError) as told:
        LoggerSetting.read(given).check()
    assert says in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 400


def test_a_setting_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "logger.yaml"
    file.write_text("class_path: csv\ninit_args: {flush_logs_every_n_steps: 7}\n")
    logger = LoggerSetting.read(str(file)).build({"save_dir": str(tmp_path), "name": "a", "version": "b", "other": 1})
    assert (logger._flush_logs_every_n_steps, Path(str(logger.log_dir))) == (7, tmp_path / "a" / "b")
