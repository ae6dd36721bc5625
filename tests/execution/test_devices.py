"""One cell over two devices: two processes on the CPU against one, over the whole registry; failures; bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Server
from numpy.typing import NDArray
from rank_work import Case, dies, fails_in_the_last, on_ranks, sleeps, told, unlearned
from tiny import tiny_clip
from world import World

from benchmark.execution.multi_device.collectives import part_sizes
from benchmark.execution.process.job import Answer, RanksDifferError, put_together
from benchmark.execution.process.processes import ProcessError
from benchmark.records.store import RecordStore
from methods.common.card import MethodCard
from methods.common.registry import Registry

pytest_plugins = ("world",)

NAMES = Registry().names()
CASES: list[Case] = [
    *((name, "vit", "class", "fp64") for name in NAMES),
    *((name, "resnet", "class", "fp64") for name in ("cliperase", "boundary_shrink", "diet", "svd_forgetting")),
    *((name, "vit", "concept", "fp64") for name in ("ssd", "slug", "scrub")),
]
OTHERS: list[Case] = [("cliperase", "vit", "class", "fp32"), ("cliperase", "vit", "class", "bf16")]
ROUNDING = 1e-10
"""Largest difference of a weight (all are of order 1 or less) in float64. A tower that encodes two parts of a batch
adds up in another order than one that encodes it at once: 1e-16 of a gradient, of which the steps that divide by its
size make up to 2e-13 here. A part counted twice or left out moves weights by 1e-4 to 1."""
SPREAD = 1e-2
"""Largest difference of a unit-norm embedding's coordinate, and of a loss in parts of it, after three steps of Adam in
float32: where a gradient is rounding alone, each computation takes steps of full length of its own. The differences
are 1e-4 here and on other processors several times that; the steps move the embeddings by 0.1 and more."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[Case, Any], list[dict[Case, Any]]]:
    """All cases in this process, and in two ranks."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    return unlearned(None, [*CASES, *OTHERS], one), on_ranks(unlearned, [*CASES, *OTHERS], two, count=2)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_processes_leave_the_weights_of_one(case: Case, runs: Any) -> None:
    one, (first, second) = runs[0][case], (rank[case] for rank in runs[1])
    assert first["hash"] == second["hash"]
    assert first["edited"].keys() == one["edited"].keys()
    for name, value in first["edited"].items():
        torch.testing.assert_close(value, one["edited"][name], rtol=0, atol=ROUNDING)
    assert (first["items"], first["refused"]) == (one["items"], one["refused"])


@pytest.mark.parametrize("case", OTHERS, ids="-".join)
def test_other_precisions_go_between_processes_too(case: Case, runs: Any) -> None:
    one, (first, second) = runs[0][case], (rank[case] for rank in runs[1])
    assert first["hash"] == second["hash"] and first["edited"].keys() == one["edited"].keys()


@pytest.mark.parametrize("name", ["cliperase", "gradient_ascent", "ssd", "jit", "leace"])
def test_the_work_is_shared_and_not_doubled(name: str, runs: Any) -> None:
    case = (name, "vit", "class", "fp64")
    each = [rank[case]["flops"] for rank in runs[1]]
    assert runs[0][case]["flops"] <= sum(each) < 1.1 * runs[0][case]["flops"]  # odd batches of one are encoded twice
    assert max(each) < 0.7 * runs[0][case]["flops"]


def test_parts_are_even_and_none_is_empty() -> None:
    assert part_sizes(5, 2) == (3, 2) and part_sizes(4, 4) == (1, 1, 1, 1) and part_sizes(9, 4) == (3, 2, 2, 2)


# -- processes -----------------------------------------------------------------------------------------------


def test_results_come_in_order_and_rank_0_tells() -> None:
    heard: list[tuple[Any, ...]] = []
    assert on_ranks(told, 7, count=3, listener=lambda *message: heard.append(message)) == [0, 7, 14]
    assert heard == [("step", 0, 7), ("step", 1, 7), ("step", 2, 7)]


def test_what_a_rank_raises_is_raised_here_and_the_others_end() -> None:
    start = time.monotonic()
    with pytest.raises(ProcessError, match="3 sheep are odd") as caught:
        on_ranks(fails_in_the_last, count=2)
    assert type(caught.value).__name__ == "OddError" and "in fails_in_the_last" in str(caught.value.__cause__)
    assert time.monotonic() - start < 60  # the other one would sleep for ten minutes


def test_a_rank_that_is_killed_is_named() -> None:
    with pytest.raises(ProcessError, match="device 0 was ended by signal 9"):
        on_ranks(dies, count=2)


def test_ctrl_c_ends_all_ranks(tmp_path: Path) -> None:
    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        on_ranks(sleeps, tmp_path, count=2)
    for process in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), 0)


CARD = MethodCard(name="nobody", title="none", paper="reference row", regime="names", edits=("visual",), refuses=True)


def _answer(**changes: Any) -> Answer:
    usual: dict[str, Any] = {
        "weights": "a", "seconds": 1.0, "cpu_seconds": 1.5, "peak_memory_bytes": 10, "flops": 3, "items_read": 10,
        "items_distinct": 5, "report": {},
        "tensors": {"visual.proj": torch.zeros_like(tiny_clip("vit").model.visual.proj)},
        "refused": ("apple",),
    }  # fmt: skip
    return Answer(**(usual | changes))


def test_the_cost_is_that_of_the_slowest_the_largest_and_all() -> None:
    clip = tiny_clip("vit")
    second = _answer(seconds=2.0, cpu_seconds=2.0, peak_memory_bytes=7, flops=4, tensors={})
    done = put_together(CARD, clip, [_answer(), second])
    assert (done.cost.seconds, done.cost.peak_memory_bytes, done.cost.flops) == (2.0, 10, 7)
    assert done.cost.cpu_seconds == 3.5
    unknown = put_together(CARD, clip, [_answer(), replace(second, cpu_seconds=None)])
    assert unknown.cost.cpu_seconds is None
    assert (done.items_read, done.edited, done.clip.refused) == (10, ("visual.proj",), ("apple",))
    assert not clip.model.visual.proj.any()


def test_ranks_with_different_weights_are_an_error() -> None:
    with pytest.raises(RanksDifferError, match=r"2 devices hold different weights.*use --devices 1"):
        put_together(CARD, tiny_clip("vit"), [_answer(), _answer(weights="b")])


# -- the command line ----------------------------------------------------------------------------------------


def _record(results: Path, method: str) -> Any:
    (record,) = (record for record in RecordStore(results).all() if record.cell["method"] == method)
    return record


def _images(results: Path, method: str) -> NDArray[np.float32]:
    record = _record(results, method)
    outputs = RecordStore(results).outputs(record.cell["suite"], record.key)
    assert outputs is not None
    return outputs.images.astype(np.float32)


def _losses(file: Path) -> list[float]:
    return [float(row["loss"]) for row in csv.DictReader(file.open()) if row["loss"]]


def test_a_run_on_two_devices_gives_the_record_of_one(short_world: World, tmp_path: Path) -> None:
    settings = "cliperase.max_steps=3,cliperase.batch_size=5"
    chosen = ("--seeds", "0", "--methods", "cliperase", "--set", settings)
    (key,) = (cell.key for cell in short_world.plan(*chosen).cells if cell.request.classes)
    chosen = (*chosen, "--keys", key)
    assert short_world.run(*chosen).status == 0
    both = tmp_path / "both"
    shutil.copytree(short_world.results, both)
    (both / "tiny" / f"{key}.json").unlink()
    where = ("--suite", short_world.suite, "--results", both, "--cache-dir", short_world.cache, "--device", "cpu")
    server = Server()
    status, _ = server.run(["run", *where, *chosen, "--devices", "2"], out=tmp_path / "said.txt", new_server=True)
    server.close()
    said = (tmp_path / "said.txt").read_text()
    assert status == 0, said
    assert "1 cells run" in said and "Gloo" not in said
    one, two = (_record(folder, "cliperase") for folder in (short_world.results, both))
    assert one.key == two.key and one.references == two.references
    assert one.metrics.keys() == two.metrics.keys()  # their values may differ: an image on the border changes sides
    before, once, twice = (
        _images(folder, method)
        for folder, method in (
            (short_world.results, "original"),
            (short_world.results, "cliperase"),
            (both, "cliperase"),
        )
    )
    assert np.abs(once - twice).max() < SPREAD < 0.1 * np.abs(once - before).max()
    for name in ("edited_bytes", "items_read", "items_distinct"):
        assert one.cost[name] == two.cost[name]
    # The one name to forget, which a batch encodes once, is too short to share: both encode it.
    assert one.cost["flops"] <= two.cost["flops"] < 1.02 * one.cost["flops"]
    assert "devices" not in one.provenance and "--devices" not in one.provenance["command"]
    assert (two.provenance["devices"], two.provenance["strategy"]) == (2, "ddp")
    assert "--devices 2 --strategy ddp" in two.provenance["command"]
    losses = [_losses(folder / "logs" / "tiny" / key[:12] / "metrics.csv") for folder in (short_world.results, both)]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=SPREAD)
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5), "before any step there is nothing but a sum's order"


def test_what_a_method_raises_in_a_rank_is_in_the_ledger(short_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.execution.process import unlearner

    def fail(*_: Any, **__: Any) -> None:
        on_ranks(fails_in_the_last, count=2)

    monkeypatch.setattr(unlearner, "run_processes", fail)
    monkeypatch.setattr(unlearner.Unlearner, "check_imports", lambda *_: None)
    answer = short_world.run("--methods", "nullspace", "--seeds", "0", "--devices", "2")
    assert answer.status == 1 and "OddError: 3 sheep are odd" in answer.err
    line = json.loads((short_world.results / "failures.jsonl").read_text().splitlines()[0])
    assert line["error"] == "OddError" and "in rank 1" in line["traceback"] and "rank_work.py" in line["traceback"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--devices", 0), "--devices takes a number from 1 to 1024, not 0"),
        (("--devices", -2), "from 1 to 1024, not -2"),
        (("--devices", "two"), "devices"),
        (
            ("--devices", 2, "--strategy", "fsdp"),
            "--strategy fsdp is not supported: use ddp; methods edit whole tensors",
        ),
        (("--strategy", "ddp"), "--strategy ddp needs several devices: add --devices N"),
        (("--devices", 2, "--executor", "ray"), "--executor ray spreads cells: leave out one"),
        (("--devices", 2, "--device", "toaster"), "unknown device 'toaster'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(world: World, options: tuple[object, ...], expected: str) -> None:
    assert expected in world.run(*options).error
    assert world.files() == set()


def test_gpus_that_are_not_there_are_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    where = ("--suite", world.suite, "--results", world.results, "--cache-dir", world.cache)
    from world import command

    assert "torch sees 2 GPUs here: use --devices 2" in command("run", *where, "--device", "cuda", "--devices", 4).error
    assert "use --device cuda, not cuda:1" in command("run", *where, "--device", "cuda:1", "--devices", 2).error
    assert world.files() == set()
