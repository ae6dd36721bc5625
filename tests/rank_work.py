"""What ranks do in tests: top-level functions, which a new process can import; nothing heavy before it is needed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.execution.process.child import Rank
    from methods.common.registry import Registry

QUICK = {
    "batch_size": 5,  # three items for one rank, two for the other
    "max_steps": 3,
    "epochs": 3,
    "iterations": 3,
    "images": 3,
    "draws": 2,
    "threshold": 0.0,
    "tries": 2,
    "shots": 5,
    "gradient_batches": 2,
    "held_out_batches": 1,
    "search_steps": 3,
    "saliency_steps": 1,
    "forget_iterations": 3,
    "retain_iterations": 3,
}
Case = tuple[str, str, str, str]
"""Method, architecture, "class" or "concept", precision: "fp32", "bf16", or "fp64", in which two computations that are
one in exact arithmetic differ by next to nothing on every processor."""


def on_ranks(work: Any, *arguments: Any, count: int, listener: Any = None) -> list[Any]:
    """Do the same work in several new processes; what each gives. Tests trust what they have started."""
    import pickle
    import tempfile

    from benchmark.execution.process.processes import run_processes

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").write_bytes(pickle.dumps((work, arguments)))
        run_processes(do, folder, count=count, listener=listener)
        return [pickle.loads((folder / f"{index}.result").read_bytes()) for index in range(count)]


def do(rank: Rank) -> None:
    """What a process does: the pickled work of its folder."""
    import pickle

    work, arguments = pickle.loads((rank.folder / "work").read_bytes())
    (rank.folder / f"{rank.index}.result").write_bytes(pickle.dumps(work(rank, *arguments)))


class OddError(Exception):
    """An exception whose constructor takes something else than what it says."""

    def __init__(self, number: int, *, unit: str) -> None:
        super().__init__(f"{number} {unit} are odd")
        self.number = number


def told(rank: Rank, value: int) -> int:
    for step in range(3):
        rank.tell("step", step, value)
    return rank.index * value


def fails_in_the_last(rank: Rank) -> None:
    if rank.index == rank.count - 1:
        raise OddError(3, unit="sheep")
    time.sleep(600)


def dies(rank: Rank) -> None:
    if rank.index == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def starts_a_child(rank: Rank) -> int:
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    return child


def sleeps(rank: Rank, folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def unlearned(rank: Rank | None, cases: list[Case], cache_dir: Path) -> dict[Case, dict[str, Any]]:
    """Each case in one process (no rank) or as one of several: edited tensors and what else must agree."""
    import torch

    from benchmark.execution.multi_device.group import joined

    torch.set_num_threads(1)
    together = nullcontext() if rank is None else joined(rank, torch.device("cpu"))
    with together:
        return {case: _unlearned(rank, case, cache_dir) for case in cases}


@cache
def _registry() -> Registry:
    from methods.common.registry import Registry

    return Registry()


def _unlearned(rank: Rank | None, case: Case, cache_dir: Path) -> dict[str, Any]:
    import pytest
    from double import in_double
    from tiny import APPLE, TinyDataset, tiny_clip

    from benchmark.execution.multi_device.group import strategy_of
    from benchmark.execution.multi_device.sharded_clip import ShardedClip
    from benchmark.unlearning.unlearn import unlearn
    from benchmark.utils.randomness import isolated
    from datamodules.common import synthetic
    from datamodules.common.module import Retrained
    from methods.common.card import resolve
    from methods.common.clip import state_hash

    name, kind, request, precision = case
    registry, clip = _registry(), tiny_clip(kind)
    retrained = Retrained(tiny_clip(kind, seed=5).model.state_dict(), 12.0)
    double = nullcontext()
    if precision == "fp64":
        clip.model.double()
        precision, double = "fp32", in_double()  # what "fp32" means to the Trainer: nothing is cast
    if rank is not None:
        clip = ShardedClip.of(clip, rank=rank.index, ranks=rank.count)
    declaration = registry.declaration(name)
    quick = {k: v for k, v in QUICK.items() if k in declaration.hyperparameters.__dataclass_fields__}
    with isolated(7), double, pytest.MonkeyPatch.context() as patch:
        # A tiny CLIP with random weights takes hundreds of steps to say the name: take what there is.
        patch.setattr(synthetic, "_accepted", lambda model, target, x, threshold: x.new_ones(len(x)).bool())
        done = unlearn(
            registry.method_class(name),
            resolve(declaration.hyperparameters, "small", quick),
            clip,
            TinyDataset(captions=request == "concept", cache_dir=cache_dir),
            APPLE if request == "class" else type(APPLE)(concept="apple"),
            seed=7,  # and no cache of synthetic images: one rank would wait for the lock that the other holds
            precision=precision,  # type: ignore[arg-type]
            retrained=retrained,
            strategy=None if rank is None else strategy_of(rank),
        )
    state = done.clip.model.state_dict()
    return {
        "edited": {key: state[key] for key in done.edited},
        "hash": state_hash(done.clip.model, lambda _: True),
        "flops": done.cost.flops,
        "items": (done.items_read, done.items_distinct),
        "refused": done.clip.refused,
    }
