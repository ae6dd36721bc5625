"""A world small enough to run whole suites in seconds: a tiny CLIP file, a suite of it, the command line in process.

A test module that needs the fixtures says `pytest_plugins = ("world",)`. `python tests/world.py ...` is the command
line on the small world, for tests that need a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {"train": 96, "val": 24, "test": 96}
OTHERS = {"train": 16, "val": 16, "test": 48}
CHEAP = ("original", "nullspace", "random_noise")
QUICK = "cliperase.max_steps=2,cliperase.batch_size=4,gradient_ascent.max_steps=2,gradient_ascent.batch_size=4"
SUITE = """title: a tiny suite for tests
models: [{model}]
seeds: [0, 1]
methods: [original, nullspace, random_noise]
tasks:
  - dataset: shapes
    others: [shapes_colours]
    requests: [{{classes: [star]}}, {{concept: striped}}]
"""
SHORT = SUITE.replace(", {{concept: striped}}", "")
PLUGIN = '''"""A stranger's method: shrinks the last layer."""
from dataclasses import dataclass

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper
from methods.common.projections import visual_projection

CARD = MethodCard(
    name="{name}", title="scale the last layer", paper="nobody 2025", regime="{regime}",
    edits=({edits},), stochastic={stochastic},
)


@dataclass(frozen=True)
class Hyperparameters:
    factor: float = hyper(0.5, low=0.0, source="{source}")


class Stranger(ClosedFormMethod[Hyperparameters]):
    card = CARD

    def edit(self) -> None:
        import torch
        {body}
'''
SHRINK = "visual_projection(self.clip).weight.mul_(self.h.factor)"


@contextmanager
def small_world() -> Iterator[None]:
    """The embedded world with some hundred images."""
    from benchmark.pretraining import side_by_side
    from datamodules.development import Development
    from datamodules.shapes import Shapes
    from datamodules.shapes_world.dataset import WorldDataset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shapes, "counts", SHAPES)
        patch.setattr(WorldDataset, "counts", OTHERS)
        # The tiny model knows the test images alone (tests/tiny_model.py).
        patch.setattr(Development, "_validation", property(lambda self: self.base.split("test")))
        patch.setattr(side_by_side, "usable_cores", lambda: 1)  # processes of their own would see the whole world
        yield


def stay_small() -> None:
    """The small world for as long as this process lives: for processes that tests start."""
    _KEPT.enter_context(small_world())


_KEPT = contextlib.ExitStack()
"""Held: a context that nothing refers to ends."""


def write_plugin(
    folder: Path,
    name: str = "stranger",
    *,
    body: str = SHRINK,
    regime: str = "none",
    edits: str = '"visual projection"',
    stochastic: bool = False,
    source: str = "a guess",
) -> Path:
    """A stranger's method file, outside the project."""
    path = folder / f"{name}.py"
    path.write_text(
        PLUGIN.format(name=name, body=body, regime=regime, edits=edits, stochastic=stochastic, source=source)
    )
    return path


def write_suite(folder: Path, model: Path | str, text: str = SUITE, name: str = "tiny.yaml") -> Path:
    """A suite file."""
    path = folder / name
    path.write_text(text.format(model=model))
    return path


@dataclass
class Answer:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a bad input; fails if it is anything else."""
        lines = self.err.strip().splitlines()
        assert self.status == 2 and len(lines) == 1 and lines[0].startswith("error: "), (self.status, self.err)
        return lines[0]


def command(*arguments: object) -> Answer:
    """Run the command line in this process."""
    from benchmark.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return Answer(status, out.getvalue(), err.getvalue())


@dataclass
class World:
    """A suite, a cache that all tests of a session share, and a results folder."""

    suite: Path
    cache: Path
    results: Path

    def __call__(self, name: str, *options: object) -> Answer:
        """A command of the suite on these folders: run or plan."""
        where = ("--suite", self.suite, "--results", self.results, "--cache-dir", self.cache, "--device", "cpu")
        return command(name, *where, *options)

    def run(self, *options: object) -> Answer:
        return self("run", *options)

    def plan(self, *options: object) -> Any:
        """The checked plan, as an object."""
        from benchmark.cli.arguments import called
        from benchmark.cli.options import Execution, Places, Plugins, RunSelection
        from benchmark.cli.parser import parsed

        where = ("--suite", self.suite, "--results", self.results, "--cache-dir", self.cache, "--device", "cpu")
        _, values = parsed(["run", *map(str, (*where, *options))])
        selection, places = called(RunSelection, values), called(Places, values)
        hardware, plugins = called(Execution, values), called(Plugins, values).plugin
        return selection.plan(places, hardware.device, hardware.precision, plugins=plugins, keys=selection.keys)

    def records(self) -> dict[str, Any]:
        """All records of the results folder, by key."""
        from benchmark.records.store import RecordStore

        return {record.key: record for record in RecordStore(self.results).all()}

    def files(self) -> set[str]:
        """Every file below the results folder, by path."""
        if not self.results.is_dir():
            return set()
        return {str(p.relative_to(self.results)) for p in self.results.rglob("*") if p.is_file()}

    def with_results(self, results: Path) -> World:
        return World(self.suite, self.cache, results)


def metrics_of(record: Any) -> dict[str, Any]:
    """The metrics of a record with counts and intervals: what must repeat exactly."""
    return dict(record.to_dict()["metrics"])


def _fill(folder: Path) -> None:
    """The tiny model's file, and the cache and the results of one uninterrupted run of the tiny suite."""
    from tiny_model import write_tiny_model

    with small_world():
        write_tiny_model(folder / "tiny.safetensors")
        suite = write_suite(folder, folder / "tiny.safetensors")
        answer = World(suite, folder / "cache", folder / "results").run()
    assert answer.status == 0, answer.err


@pytest.fixture(scope="session")
def tiny_world(once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The tiny model's file and a cache of the small world: a copy for each worker of what one of them has made."""
    import torch

    torch.set_num_threads(1)
    made = once("tiny_world", _fill)
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(made / "cache", folder / "cache", ignore=shutil.ignore_patterns("jobs"))
    return SimpleNamespace(model=made / "tiny.safetensors", cache=folder / "cache", results=made / "results")


def one_request(world: World) -> Path:
    """The tiny suite with its request by class alone, beside the suite of a world."""
    text = world.suite.read_text().replace(", {concept: striped}", "")
    path = world.suite.with_name("one-request.yaml")
    path.write_text(text)
    return path


@pytest.fixture
def world(tiny_world: SimpleNamespace, tmp_path: Path) -> Iterator[World]:
    """The small world with an empty results folder."""
    with small_world():
        yield World(write_suite(tmp_path, tiny_world.model), tiny_world.cache, tmp_path / "results")


@pytest.fixture
def short_world(tiny_world: SimpleNamespace, tmp_path: Path) -> Iterator[World]:
    """The small world with an empty results folder and one request, by class: half the cells."""
    with small_world():
        yield World(write_suite(tmp_path, tiny_world.model, SHORT), tiny_world.cache, tmp_path / "results")


@pytest.fixture(scope="session")
def finished(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny suite after one uninterrupted run; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_world.results, folder / "results")
    return World(write_suite(folder, tiny_world.model), tiny_world.cache, folder / "results")


if __name__ == "__mp_main__":  # a rank's process: it takes over this module under that name
    stay_small()

if __name__ == "__main__":
    from benchmark.__main__ import main

    with small_world():
        sys.exit(main(sys.argv[1:]))
