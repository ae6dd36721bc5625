"""What a process does in the cases of `tests.reliability.disk`; it is forked, for an import takes seconds."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast
from unittest import mock

import numpy as np
import torch
from PIL import Image

from benchmark.records.kept_outputs import Outputs
from benchmark.records.store import RecordStore
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import is_whole, replace_file, replace_sealed
from tests.kept_kinds import KINDS, outputs_of, record_of

Say = Callable[[str], None]
LIMIT_BYTES = 400_000
LARGE = 300_000


def _record(folder: Path) -> None:
    record = record_of(0)
    record.report["notes"] = ["x" * 1000] * 1000
    RecordStore(folder).write(record)


def _outputs(folder: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal((LARGE, 2)).astype(np.float16)
    RecordStore(folder).write(record_of(0), Outputs(numbers, outputs_of().classifier))


def _features(folder: Path) -> None:
    from datamodules.common.cache import array_bytes, keep_if_possible

    keep_if_possible(folder / "features" / "f.npy", array_bytes(np.ones(LARGE, np.float32)))


def _images(folder: Path) -> None:
    from datamodules.common.images import decode_once

    source = folder / "p.png"
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(source)
    decode_once([source] * 40, 64, folder, name="n", revision="1")


def _checkpoint(folder: Path) -> None:
    from types import SimpleNamespace

    from benchmark.pretraining.checkpoint import Checkpoints

    stateful = SimpleNamespace(state_dict=lambda: {"state": {0: torch.ones(LARGE)}})
    trainer: Any = SimpleNamespace(optimizers=[stateful], lr_scheduler_configs=[SimpleNamespace(scheduler=stateful)])
    module: Any = SimpleNamespace(model=torch.nn.Linear(2, 2), edges=None)
    Checkpoints(folder / "a.training", "same", every_seconds=0.0).on_train_batch_end(trainer, module, None, None, 1)


def _model(folder: Path) -> None:
    from benchmark.models.compact import save_compact
    from tests.tiny import ARCHITECTURES

    model = ARCHITECTURES["vit"].build(vocabulary=4096)
    save_compact(folder / "m.safetensors", model, torch.arange(4096), ARCHITECTURES["vit"], {})


def _weights(folder: Path) -> None:
    from benchmark.execution.edited_weights import KeptWeights

    kept = KeptWeights("ab" * 32, "cd" * 32, "ef" * 32, {"a": torch.ones(LARGE)})
    replace_file(folder / "w.safetensors", kept.to_bytes())


def _ledger(folder: Path) -> None:
    from benchmark.records.failures import Ledger

    for _ in range(4):
        Ledger(folder).append("k", {}, ValueError("x" * LARGE))


def _tuned(folder: Path) -> None:
    from benchmark.suites.tuned.values import save_tuned
    from tests.tuned_entry import tuned_entry

    save_tuned(folder / "t.yaml", tuned_entry(values={"a": "x" * 2 * LARGE}))


def _extras(folder: Path) -> None:
    from benchmark.report.extras import Curve, Extras, write_extras

    write_extras(folder / "e" / "extras.json", Extras({"k": (Curve("c" * 2 * LARGE, "step", (0,), (1.0,)),)}))


def _report(folder: Path) -> None:
    from benchmark.cli.parser import run_command

    run_command(["report", "--results", str(folder / "runs"), "--out", str(folder / "report.html")])


def _export(folder: Path) -> None:
    from benchmark.exporting.folder import new_folder, write_model
    from tests.tiny import tiny_clip

    clip = tiny_clip("vit")
    clip.model.register_buffer("large", torch.ones(LARGE))
    with new_folder(folder / "model") as work:
        write_model(work, clip, "shapes-vit")


WRITERS: dict[str, Callable[[Path], None]] = {
    "record": _record,
    "outputs": _outputs,
    "weights": _weights,
    "features": _features,
    "decoded images": _images,
    "training checkpoint": _checkpoint,
    "model": _model,
    "ledger": _ledger,
    "tuned values": _tuned,
    "extras": _extras,
    "report": _report,
    "export": _export,
}


@dataclass(frozen=True)
class Child:
    """A forked process.

    Attributes:
        process: Its number.
        answers: What it says, one line each.
    """

    process: int
    answers: TextIO

    @classmethod
    def of(cls, work: Callable[[Say], None]) -> Child:
        """Fork a process that does some work and ends."""
        read, write = os.pipe()
        process = os.fork()
        if not process:
            os.close(read)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            torch.set_num_threads(1)
            try:
                work(lambda line: cast(None, os.write(write, f"{line}\n".encode())))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
                os.write(write, f"{type(error).__name__}: {error}\n".encode())
            os._exit(0)
        os.close(write)
        return cls(process, os.fdopen(read))

    def end(self) -> str:
        """Wait for its end: the last line that it said, or the signal that ended it."""
        with self.answers:
            lines = self.answers.read().splitlines()
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return f"ended by {signal.Signals(-code).name}" if code < 0 else lines[-1] if lines else "nothing said"


def write_without_room(kind: str, folder: Path, limit: int | None, say: Say) -> None:
    """Write a file of a kind where there is no room: says "refused" and why, or that it went on."""
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        WRITERS[kind](folder)
    except BenchmarkError as error:
        say(f"refused: {error}")
    else:
        say("went on" if kind in ("features", "training checkpoint") else "written")


def make(kind: str, folder: Path, locks: bool, say: Say) -> None:
    """Make files of the cache as one of several containers, and say the digest of what they hold."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if not locks:
        import fcntl

        fcntl.flock = fcntl.lockf = refuse  # type: ignore[assignment]
    with mock.patch.object(os, "getpid", lambda: 7):
        made = KINDS[kind](folder)
        both = made.read()
    say(hashlib.sha256(repr(both).encode()).hexdigest())


def write_for_ever(kind: str, folder: Path, say: Say) -> None:
    """Write files of a kind over and over, until killed."""
    large = np.random.default_rng(0).bytes(2_000_000)
    say("writing")
    for number in itertools.count():
        name = number % 5
        if kind == "record":
            record = record_of(name)
            record.report["notes"] = ["x" * 1000] * 300
            RecordStore(folder).write(record, outputs_of(name))
        elif kind == "decoded images":
            from datamodules.common.cache import cached_rows

            rows = np.frombuffer(large, np.uint8).reshape(20, 100_000)
            cached_rows(folder / f"{number}.npy", rows.shape, np.uint8, lambda rows=rows: iter(rows))  # type: ignore[misc]
        elif kind == "weights":
            from benchmark.execution.edited_weights import KeptWeights

            kept = KeptWeights("ab" * 32, "cd" * 32, "ef" * 32, {"a": torch.full((LARGE,), float(number))})
            replace_file(folder / f"{name}.safetensors", kept.to_bytes())
        elif kind == "training checkpoint":
            replace_sealed(folder / f"{name}.training", large[number:])
        else:
            replace_file(folder / f"{name}.html", b"<html>" + large + b"</html>")


def check(kind: str, folder: Path) -> str:
    """Empty if all files of a kind in the folder are whole."""
    from benchmark.execution.edited_weights import KeptWeights

    checks: dict[str, tuple[str, Callable[[Path], bool]]] = {
        "decoded images": ("*.npy", is_whole),
        "weights": ("*.safetensors", lambda path: KeptWeights.read(path) is not None),
        "training checkpoint": ("*.training", is_whole),
        "report": ("*.html", lambda path: path.read_bytes().endswith(b"</html>")),
    }
    if kind == "record":
        store, files = RecordStore(folder), list(folder.glob("*/*.json"))
        outputs = [store.outputs("own", path.stem) for path in files]
        bad = len(files) - len(store.all()) + outputs.count(None)
    else:
        pattern, whole = checks[kind]
        bad = sum(not whole(path) for path in folder.glob(pattern))
    return f"{bad} are not whole" if bad else ""
