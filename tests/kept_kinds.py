"""Every kind of file that is kept: how two of them are made, read, and made again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from PIL import Image

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.execution.edited_weights import KeptWeights
from benchmark.models.compact import KEPT_AS, Architecture, load_compact, save_compact
from benchmark.models.tensor_files import WeightsError
from benchmark.pretraining import kept as training
from benchmark.pretraining import train
from benchmark.pretraining.checkpoint import Checkpoints
from benchmark.pretraining.recipe import load_recipe
from benchmark.records.failures import Ledger
from benchmark.records.kept_outputs import Outputs
from benchmark.records.record import SCHEMA, Metric, Record, key_of
from benchmark.records.store import RecordStore
from benchmark.report.extras import Curve, Extras, Predictions, read_extras, write_extras
from benchmark.suites.tuned.values import TunedError, load_tuned, save_tuned
from datamodules.common import synthetic
from datamodules.common.images import decode_once
from datamodules.common.kept_files import replace_file
from datamodules.common.synthetic import ImageModel, SyntheticRecipe, make_or_load
from datamodules.shapes_world.unseen import unseen
from methods.common.clip import state_hash
from tests.tiny import NAMES, TinyDataset, tiny_clip
from tests.tuned_entry import tuned_entry

Read = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Made:
    """Two whole files of a kind.

    Attributes:
        paths: The one that will be damaged, and the other.
        read: What both hold, as far as it is believed; None for one that counts as not there.
        again: Makes the first again, as the benchmark would; None where reading does that already.
    """

    paths: tuple[Path, Path]
    read: Read
    again: Callable[[], None] | None = None


def record_of(seed: int = 0, value: float = 0.25) -> Record:
    """A record of a cell that nobody ran."""
    cell = {"suite": "own", "method": "m", "dataset": "shapes", "model": "mini", "seed": seed}
    cell |= {"request": {"classes": ["star"]}, "hparams": {"rate": 0.5}}
    metrics = {"forget/acc1": Metric(value, 100, (0.1, 0.4)), "retain/acc1": Metric(1 - value, 900, (0.7, 0.8))}
    cost: dict[str, float | int | None] = {"unlearn_seconds": 1.5, "flops": 10}
    about = {"device": "cpu", "precision": "fp32", "regime": "names"}
    return Record(SCHEMA, key_of(cell), cell, metrics, {"original": None}, cost, about)


def outputs_of(seed: int = 0) -> Outputs:
    """Outputs of a model that nobody has."""
    numbers = np.random.default_rng(seed)
    images = numbers.standard_normal((40, 8), dtype=np.float32)
    return Outputs(images.astype(np.float16), numbers.standard_normal((4, 8), dtype=np.float32), ("star",))


def _records(folder: Path) -> Made:
    store = RecordStore(folder, read_only=False)
    both = record_of(0), record_of(1)
    paths = (store.write(both[0]), store.write(both[1]))

    def read() -> tuple[Any, Any]:
        found = {record.key: record for record in RecordStore(folder, read_only=False).all()}
        unknown = set(found) - {record.key for record in both}
        return (unknown or found.get(both[0].key)), found.get(both[1].key)

    return Made(paths, read, lambda: cast(None, store.write(both[0])))


def _outputs(folder: Path) -> Made:
    store = RecordStore(folder, read_only=False)
    both = [(record_of(seed), outputs_of(seed)) for seed in (0, 1)]
    paths = [store.write(*each).with_suffix(".npz") for each in both]

    def read() -> tuple[Any, Any]:
        found = [store.outputs("own", record.key) for record, _ in both]
        first, second = (each and (each.images.tobytes(), each.classifier.tobytes(), each.refused) for each in found)
        return first, second

    return Made((paths[0], paths[1]), read, lambda: cast(None, store.write(*both[0])))


def _weights(folder: Path) -> Made:
    store = RecordStore(folder)
    paths, writers = [], []
    for seed in (0, 1):
        record, outputs = record_of(seed), outputs_of(seed)
        path = store.write(record, outputs).with_suffix(".safetensors")
        digest = hashlib.sha256(outputs.to_bytes()).hexdigest()
        tensors = {"visual.proj": torch.randn(8, 8, generator=torch.Generator().manual_seed(seed))}
        kept = KeptWeights(record.key, "ab" * 32, digest, tensors, ("star",))
        writers.append((path, kept.to_bytes()))
        replace_file(*writers[-1])
        paths.append(path)

    def one(path: Path) -> Any:
        kept = KeptWeights.read(path)
        if kept is None or not KeptWeights.belongs(path, path.stem, path.with_suffix(".npz")):
            return None
        return kept.key, kept.original, kept.refused, {name: value.tolist() for name, value in kept.tensors.items()}

    def again() -> None:
        if paths[0].is_dir():
            paths[0].rename(folder / "aside")
        replace_file(*writers[0])

    return Made((paths[0], paths[1]), lambda: (one(paths[0]), one(paths[1])), again)


def _features(folder: Path) -> Made:
    clip, dataset = tiny_clip("vit"), TinyDataset()

    def read() -> tuple[Any, Any]:
        store = EmbeddingStore(folder)
        first, second = (store.features(clip, dataset, split, keep=True).tolist() for split in ("test", "val"))
        return first, second

    read()
    return Made(_two(folder, "*.npy"), read)


def _images(folder: Path) -> Made:
    numbers = np.random.default_rng(0)
    files = [folder / f"{index}.png" for index in range(4)]
    for file in files:
        whole = file.with_suffix(f".{os.getpid()}")  # two processes may make them at once, and read what is there
        Image.fromarray(numbers.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(whole, format="PNG")
        whole.replace(file)

    def read() -> tuple[Any, Any]:
        parts = [decode_once(files[at : at + 2], 16, folder, name=f"n/{at}", revision="1") for at in (0, 2)]
        return parts[0].read([0, 1]).tolist(), parts[1].read([0, 1]).tolist()

    read()
    return Made(_two(folder / "images", "*.npy"), read)


def _world(folder: Path) -> Made:
    def read() -> tuple[Any, Any]:
        first, second = (unseen(count, folder)[0].images.read(range(count)).tolist() for count in (5, 6))
        return first, second

    read()
    return Made(_two(folder / "images", "*.npy"), read)


def _always(model: ImageModel, target: int, x: torch.Tensor, threshold: float) -> torch.Tensor:
    return torch.ones(len(x), dtype=torch.bool)


def _synthetic(folder: Path) -> Made:
    clip = tiny_clip("vit")
    recipe = SyntheticRecipe(count=2, step=2.0, iterations=1, jitter=1, tries=1, threshold=-1.0)
    classifier = clip.zero_shot_classifier(NAMES, ("a photo of a {}",)).detach()
    model = ImageModel(clip.encode_image, classifier, 20.0, clip.preprocessing, "key")

    def read() -> tuple[Any, Any]:
        with mock.patch.object(synthetic, "_accepted", _always):
            sets = [make_or_load(model, [target], recipe, folder) for target in (0, 1)]
        return sets[0].images.tolist(), sets[1].images.tolist()

    read()
    return Made(_two(folder / "synthetic", "*.npz"), read)


def _checkpoints(folder: Path) -> Made:
    both = [Checkpoints(folder / f"{seed}.training", "same", every_seconds=0.0) for seed in (0, 1)]

    def write(seed: int) -> None:
        weights = torch.nn.Linear(4, 4)
        with torch.no_grad():
            weights.weight.fill_(seed)
            weights.bias.fill_(seed)
        stateful = SimpleNamespace(state_dict=lambda: {"state": {0: torch.ones(4)}})
        trainer = SimpleNamespace(optimizers=[stateful], lr_scheduler_configs=[SimpleNamespace(scheduler=stateful)])
        both[seed].begin(seed, offset=0, spent=float(seed))
        module: Any = SimpleNamespace(model=weights, edges=None)
        both[seed].on_train_batch_end(cast(Any, trainer), module, None, None, 3)

    for seed in (0, 1):
        write(seed)

    def one(seed: int) -> Any:
        standing = both[seed].load()
        return standing and (standing.cycle, standing.step, {k: v.tolist() for k, v in standing.model.items()})

    paths = [each.path for each in both if each.path is not None]
    return Made((paths[0], paths[1]), lambda: (one(0), one(1)), lambda: write(0))


def _save_model(path: Path, seed: int, about: dict[str, Any]) -> None:
    text = {"context_length": 16, "width": 8, "heads": 1, "layers": 1}
    vision = {"layers": 1, "width": 8, "head_width": 8, "patch_size": 8, "image_size": 16}
    architecture = Architecture(8, vision, text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.build(vocabulary=6)
    save_compact(path, model, torch.tensor([1, 5, 9, 30, 49406, 49407]), architecture, about)


def _retrained(folder: Path) -> Made:
    recipe = load_recipe("few-shapes")
    paths = [folder / f"few-shapes-{seed}.safetensors" for seed in (0, 1)]

    def trained(recipe: Any, out: Path, *, seed: int, **_: Any) -> None:
        _save_model(out, seed, {"recipe": recipe.name, "seed": seed, KEPT_AS: out.name})

    def one(seed: int) -> str:
        options: dict[str, Any] = {"data_dir": None, "cache_dir": folder, "seed": seed, "device": "cpu"}
        return state_hash(training.trained_once(paths[seed], recipe, **options).model, lambda name: True)

    def read() -> tuple[Any, Any]:
        with mock.patch.object(train, "pretrain", trained):
            return one(0), one(1)

    read()
    return Made((paths[0], paths[1]), read)


def _compact(folder: Path) -> Made:
    paths = [folder / f"{seed}.safetensors" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        _save_model(path, seed, {"recipe": "none", "seed": seed})

    def one(path: Path) -> str | None:
        try:
            return state_hash(load_compact(path, "own").model, lambda name: True)
        except WeightsError:
            return None

    return Made((paths[0], paths[1]), lambda: (one(paths[0]), one(paths[1])))


def _ledgers(folder: Path) -> Made:
    both = [Ledger(folder / name) for name in ("a", "b")]
    for number, ledger in enumerate(both):
        for seed in range(3):
            ledger.append(f"{number}{seed}", record_of(seed).cell, ValueError(f"failure {seed}"))
    whole = both[0].failures()
    known = whole | both[1].failures()

    def one(ledger: Ledger) -> Any:
        found = ledger.failures()
        torn = found != whole and all(known.get(key) == failure for key, failure in found.items())
        return None if torn and ledger is both[0] else found

    return Made((both[0].path, both[1].path), lambda: (one(both[0]), one(both[1])))


def _tuned(folder: Path) -> Made:
    paths = [folder / f"{name}.yaml" for name in ("a", "b")]
    for number, path in enumerate(paths):
        entry = tuned_entry(method=f"method{number}", values={"rate": 0.5 + number})
        save_tuned(path, entry)

    def one(path: Path) -> Any:
        try:
            return [dataclasses.asdict(entry) for entry in load_tuned(path)] or None
        except TunedError:
            return None

    return Made((paths[0], paths[1]), lambda: (one(paths[0]), one(paths[1])))


def _extras(folder: Path) -> Made:
    folders = [folder / "a", folder / "b"]
    for number, each in enumerate(folders):
        curves = {"k": (Curve("loss", "step", (0, 1), (1.5 + number, 0.5)),)}
        write_extras(each / "extras.json", Extras(curves, {"k": Predictions((7,), (((1, 0.5), (2, 0.25)),))}))

    def one(each: Path) -> Any:
        found, _wrong = read_extras(each)
        return None if found == Extras() else found

    return Made((folders[0] / "extras.json", folders[1] / "extras.json"), lambda: (one(folders[0]), one(folders[1])))


def _two(folder: Path, pattern: str) -> tuple[Path, Path]:
    first, second = sorted(folder.glob(pattern))
    return first, second


KINDS: dict[str, Callable[[Path], Made]] = {
    "record": _records,
    "outputs": _outputs,
    "weights": _weights,
    "features": _features,
    "decoded images": _images,
    "drawn images": _world,
    "synthetic set": _synthetic,
    "training checkpoint": _checkpoints,
    "retrained model": _retrained,
    "compact model": _compact,
    "ledger": _ledgers,
    "tuned values": _tuned,
    "extras": _extras,
}
