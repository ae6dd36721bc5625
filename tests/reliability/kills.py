"""Commands that are killed at random moments: nothing is half written, nothing is lost, and the same command goes on.

Each command is a forked process (tests/forked.py), so it dies by a real signal without an import each.
What each command gives when nobody disturbs it is made once; a case kills it at a random part of that time.
"""

from __future__ import annotations

import atexit
import itertools
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from tests import forked
from tests.reliability.case import Case

ROOT = Path(__file__).resolve().parents[2]
SEED = 20251126
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
FAST = frozenset({"pretrain by SIGTERM, 1"})
"""The suite has kills of `run` beside it (tests/execution/test_kill_resume.py, test_endings.py)."""
TUNING = """title: what nothing reports
models: [{model}]
seeds: [0]
tasks: [{{dataset: "development:shapes", others: ["development:shapes_colours"], requests: [{{classes: [heart]}}]}}]
"""
ONE_CLASS = """title: one class
models: [shapes-resnet]
seeds: [0]
methods: [original, nullspace]
tasks: [{{dataset: shapes, requests: [{{classes: [star]}}]}}]
"""


def prepare(model: Path) -> None:
    """In the server: a recipe that is trained in seconds, checkpoints many times a second, and the tiny model."""
    import optuna  # noqa: F401
    from tiny_model import write_tiny_model
    from tiny_recipe import SHORT_CYCLE, TINY
    from world import small_world

    import benchmark.exporting.folder
    import benchmark.report.page
    import benchmark.tuning.tuner  # noqa: F401
    from benchmark.pretraining import recipe, train

    tiny = replace(TINY, epochs=3, further_cycles=(SHORT_CYCLE,))
    load_recipe = recipe.load_recipe
    recipe.load_recipe = lambda name: tiny if name == "tiny" else load_recipe(name)
    train.Checkpoints = partial(train.Checkpoints, every_seconds=0.1)  # type: ignore[misc, assignment]
    with small_world():
        write_tiny_model(model)


class Server:
    """Runs the command line on a tiny world in forked processes, and sends them signals."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kills-"))
        self.cache, self.model = self.folder / "cache", self.folder / "tiny.safetensors"
        self._server = forked.Server(partial(prepare, self.model))
        atexit.register(self.close)

    def run(self, arguments: list[Any], *, number: int = 0, after: float | None = None) -> tuple[int, float, str]:
        """Run a command, perhaps send it a signal after some seconds.

        Returns:
            Its exit status (negative if a signal killed it), its seconds and what it said.
        """
        out = self.folder / "said.txt"
        status, seconds = self._server.run(arguments, out=out, number=number, after=after)
        return status, seconds, out.read_text(errors="replace")

    def close(self) -> None:
        """End the server and remove its folder."""
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def _server() -> Server:
    return Server()


@dataclass(frozen=True)
class Work:
    """A command that is put to the test.

    Attributes:
        prepare: Fills an empty folder with what the command starts from.
        arguments: The command's arguments in that folder.
        wrong: What is half, lost or missing, in a line; empty if nothing. Told the folder, the folder as it was before
            the kill, and whether all must be done.
        done: Whether nothing is left to do, so that the command itself would refuse to run again.
    """

    prepare: Callable[[Path], None]
    arguments: Callable[[Path], list[Any]]
    wrong: Callable[[Path, Path, bool], str]
    done: Callable[[Path], bool] = lambda _: False


@cache
def _usual(name: str) -> tuple[Path, float]:
    """What a command gives undisturbed, and in how many seconds."""
    server = _server()
    folder = server.folder / f"whole-{name}"
    folder.mkdir()
    work = {**WORKS, **_BASES}[name]
    work.prepare(folder)
    server.run(work.arguments(folder))  # fills the cache
    shutil.rmtree(folder)
    folder.mkdir()
    work.prepare(folder)
    status, seconds, said = server.run(work.arguments(folder))
    assert status == 0, said
    return folder, seconds


def cases(count: int | None) -> list[Case]:
    """Every command by every signal; with a count, that many, at other moments each round."""
    kinds = list(itertools.product(WORKS, SIGNALS))
    wanted = len(kinds) if count is None else count
    found = []
    for number in range(wanted):
        name, kind = kinds[number % len(kinds)]
        turn = 1 + number // len(kinds)
        part = random.Random(f"{SEED} {name} {kind} {turn}").uniform(0.05, 0.95)
        found.append(Case(f"{name} by {kind}, {turn}", partial(_killed, name, kind, part)))
    return found


def _killed(name: str, kind: str, part: float, folder: Path) -> str:
    """Kill a command at a part of its usual time, look, and run it again."""
    work, server, number = WORKS[name], _server(), int(signal.Signals[kind])
    _, seconds = _usual(name)
    here, before = folder / "here", folder / "before"
    here.mkdir()
    work.prepare(here)
    shutil.copytree(here, before)
    status, _, said = server.run(work.arguments(here), number=number, after=part * seconds)
    moment = f"{kind} at {part:.2f} of {seconds:.1f} s"
    allowed = {0, -number} if kind == "SIGKILL" else {0, 128 + number}
    if status not in allowed and not (status == -number and not said):  # before the command line took signals
        return f"status {status} after {moment}: {said[-300:]}"
    if status == 128 + number and ("go on" not in said or "Traceback" in said):
        return f"does not say how to go on after {moment}: {said[-300:]}"
    if wrong := work.wrong(here, before, status == 0):
        return f"{wrong} after {moment}"
    if work.done(here):
        return ""
    shutil.rmtree(before)
    shutil.copytree(here, before)
    status, _, said = server.run(work.arguments(here))
    if status != 0:
        return f"the same command ends with status {status} after {moment}: {said[-300:]}"
    wrong = work.wrong(here, before, True)
    return f"{wrong}, in the end, after {moment}" if wrong else ""


# -- records: run, tune, measure -------------------------------------------------------------------------------------


def _records(results: Path) -> dict[str, Any]:
    """Every record by key, having seen that each file is whole.

    Raises:
        ValueError: If one is not, or lacks its outputs.
    """
    from benchmark.records.store import RecordStore

    store = RecordStore(results, read_only=True)
    found = {record.key: record for record in store.all()}
    files = {path.stem for path in results.glob("*/*.json") if len(path.stem) == 64}
    if store.set_aside or files != set(found):
        raise ValueError(f"a half record: {store.set_aside}")
    for record in found.values():
        if store.outputs(record.cell["suite"], record.key) is None:
            raise ValueError(f"no whole outputs beside {record.key[:12]}")
    return found


def _wrong_records(name: str, results: str, here: Path, before: Path, whole: bool) -> str:
    """Whether records are lost, half or other than in an undisturbed run."""
    try:
        now, then = _records(here / results), _records(before / results)
    except ValueError as error:
        return str(error)
    usual = _records(_usual(name)[0] / results)
    if lost := [key for key in then if key not in now]:
        return f"{len(lost)} records are lost"
    for key, record in now.items():
        known = usual[key].metrics
        if any(known.get(metric) != value for metric, value in record.metrics.items()):
            return f"other numbers in {key[:12]}"
        if key in then and not then[key].metrics.items() <= record.metrics.items():
            return f"numbers of {key[:12]} are lost"
    if whole and {key: record.metrics for key, record in now.items()} != {k: r.metrics for k, r in usual.items()}:
        return f"{len(now)} of {len(usual)} records, or fewer numbers than there should be"
    return ""


def _suite(folder: Path, text: str | None = None) -> Path:
    sys.path.insert(0, str(ROOT / "tests"))
    from world import SUITE, write_suite

    return write_suite(folder, _server().model, text or SUITE)


def _common(folder: Path) -> list[Any]:
    return ["--results", folder / "results", "--cache-dir", _server().cache, "--device", "cpu"]


def _run(folder: Path) -> list[Any]:
    methods = ["--methods", "original,nullspace,cliperase", "--set", "cliperase.max_steps=3,cliperase.batch_size=4"]
    return ["run", "--suite", folder / "tiny.yaml", *_common(folder), *methods]


def _tune(folder: Path) -> list[Any]:
    where = ["--suite", folder / "tiny.yaml", "--model", _server().model, "--out", folder / "values.yaml"]
    return ["tune", "nullspace", "--trials", 4, *where, *_common(folder)]


def _wrong_tuning(here: Path, before: Path, whole: bool) -> str:
    found = _wrong_records("tune", "results/tuning", here, before, whole)
    values, usual = here / "values.yaml", _usual("tune")[0] / "values.yaml"
    if found or not (whole or values.exists()):
        return found

    def told(path: Path) -> dict[str, Any]:
        (content,) = yaml.safe_load(path.read_text())
        return {name: value for name, value in content.items() if name not in ("command", "commit")}  # hold paths

    return "" if values.exists() and told(values) == told(usual) else "half or other tuned values"


def _ran(folder: Path) -> None:
    """The records of an undisturbed run, of which `measure` and `report` begin."""
    shutil.copytree(_usual("run")[0] / "results", folder / "results")
    _suite(folder)


def _measure(folder: Path) -> list[Any]:
    return ["measure", "knn_probe", *_common(folder)]


# -- files: report, export, pretrain ---------------------------------------------------------------------------------


def _wrong_page(here: Path, before: Path, whole: bool) -> str:
    page = here / "page.html"
    if found := _wrong_records("run", "results", here, before, True):
        return found
    if not page.exists():
        return "no page" if whole else ""
    return "" if page.read_text().rstrip().endswith("</html>") else "half a page"


def _exported(folder: Path) -> bool:
    return (folder / "model").is_dir() and any((folder / "model").iterdir())


def _wrong_export(here: Path, before: Path, whole: bool) -> str:
    usual = _usual("export")[0] / "model"
    if found := _wrong_records("one class", "results", here, before, True):
        return found
    if not _exported(here):
        return "no model" if whole else ""
    names = {path.name for path in usual.iterdir()}
    found_names = {path.name for path in (here / "model").iterdir()}
    weights = [(folder / "open_clip_model.safetensors") for folder in (usual, here / "model")]
    if names != found_names or weights[0].read_bytes() != weights[1].read_bytes():
        return f"half a model: {sorted(found_names)}"
    return ""


def _one_class(folder: Path) -> list[Any]:
    return ["run", "--suite", folder / "tiny.yaml", *_common(folder)]


def _prepare_export(folder: Path) -> None:
    shutil.copytree(_usual("one class")[0] / "results", folder / "results")
    (folder / "model").mkdir()


def _export(folder: Path) -> list[Any]:
    key = next(key for key, r in _records(folder / "results").items() if r.cell["method"] == "nullspace")
    return ["export", key, folder / "model", *_common(folder)]


def _pretrain(folder: Path) -> list[Any]:
    where = ["--out", folder / "tiny.safetensors", "--cache-dir", _server().cache, "--device", "cpu"]
    return ["pretrain", "tiny", *where, "--precision", "fp32"]


def _wrong_model(here: Path, before: Path, whole: bool) -> str:
    from safetensors.torch import load_file

    made, usual = here / "tiny.safetensors", _usual("pretrain")[0] / "tiny.safetensors"
    if not made.exists():
        return "no model" if whole else ""
    one, other = load_file(made), load_file(usual)
    if one.keys() != other.keys() or any(not one[name].equal(other[name]) for name in one):
        return "half a model, or another than an undisturbed training gives"
    left = [path.name for path in here.iterdir() if path.name.endswith(".training")]
    return f"left behind: {left}" if whole and left else ""


def _nothing(_: Path) -> None:
    """The command starts from nothing."""


WORKS: dict[str, Work] = {
    "run": Work(lambda f: _suite(f) and None, _run, partial(_wrong_records, "run", "results")),
    "measure": Work(_ran, _measure, partial(_wrong_records, "measure", "results")),
    "tune": Work(lambda f: _suite(f, TUNING) and None, _tune, _wrong_tuning),
    "report": Work(
        _ran,
        lambda f: ["report", "--results", f / "results", "--own", "--out", f / "page.html"],
        _wrong_page,
    ),
    "export": Work(_prepare_export, _export, _wrong_export, _exported),
    "pretrain": Work(_nothing, _pretrain, _wrong_model),
}
_BASES = {"one class": Work(lambda f: _suite(f, ONE_CLASS) and None, _one_class, lambda *_: "")}
