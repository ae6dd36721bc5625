"""The state that a method keeps is the best on held-out training pairs, found again by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from fitting import class_pairs, fit, move
from tiny import TinyDataset, tiny_clip, tiny_spec

from datamodules.common.module import UnlearningDataModule
from methods.cliperase import CLIPErase, Hyperparameters
from methods.common.held_out import BestState, HeldOut


class Scripted:
    """Stands in for the held-out pairs: the accuracies of each look are given."""

    def __init__(self, accuracies: list[tuple[float, float]]) -> None:
        self.left = list(accuracies)

    def accuracy(self) -> tuple[float, float]:
        return self.left.pop(0)


def scripted(accuracies: list[tuple[float, float]]) -> tuple[BestState, CLIPErase]:
    method = CLIPErase(tiny_clip("vit"), tiny_spec(), Hyperparameters())
    best = BestState(method, [class_pairs([0, 0], 1)], [class_pairs([1, 2], 2)])
    best._held_out = Scripted(accuracies)  # type: ignore[assignment]
    return best, method


@pytest.mark.parametrize(
    ("accuracies", "wanted"),
    [
        ([(0.9, 0.9), (0.1, 0.8), (0.0, 0.2)], 2),
        ([(0.2, 0.9), (0.1, 0.8), (0.0, 0.7)], 1),  # equal to rounding: the earliest
        ([(1.0, 0.0), (0.9, 0.0)], 2),
    ],
)
def test_the_largest_difference_stands(accuracies: list[tuple[float, float]], wanted: int) -> None:
    best, method = scripted(accuracies)
    states = []
    for step in range(1, len(accuracies) + 1):
        move(method.clip)
        states.append(method.snapshot())
        best.look(step)
    assert best.restore() == wanted
    state = method.snapshot()
    assert all(torch.equal(state[name], states[wanted - 1][name]) for name in state)
    assert [each["forget_accuracy"] for each in best.seen] == [f for f, _ in accuracies]


def test_without_a_look_there_is_no_best_state() -> None:
    with pytest.raises(ValueError, match="no state"):
        scripted([])[0].restore()


def run(tmp_path: Path, **values: Any) -> Any:
    fixed = {"learning_rate": 3e-3, "batch_size": 4, "max_steps": 12, "held_out_batches": 1}
    return fit(CLIPErase, Hyperparameters(**{**fixed, **values}), tiny_clip("vit"), tmp_path)


def test_cliperase_ends_in_the_best_of_its_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}
    look = BestState.look

    def spy(self: BestState, step: int) -> None:
        look(self, step)
        states[step] = {n: p.detach().clone() for n, p in self._method.clip.model.named_parameters()}

    monkeypatch.setattr(BestState, "look", spy)
    method = run(tmp_path, checkpoints=4)
    seen = method.report["checkpoints"]
    assert [each["step"] for each in seen] == [3, 6, 9, 12] == sorted(states)
    scores = [each["retain_accuracy"] - each["forget_accuracy"] for each in seen]
    assert len(set(scores)) > 1
    best = int(seen[scores.index(max(scores))]["step"])
    assert method.report["best_step"] == best
    assert all(torch.equal(p, states[best][n]) for n, p in method.clip.model.named_parameters())
    # the accuracies, from the images that were held out, by another route
    data = UnlearningDataModule(
        TinyDataset(), method.spec.request, regime="forget+retain", preprocessing=method.clip.preprocessing,
        cache_dir=tmp_path,
    )  # fmt: skip
    data.plan(steps=12, batch_size=4)
    held = data.hold_out(1)
    again = HeldOut(method.clip, method.spec, held["forget"], held["retain"]).before
    chosen = seen[scores.index(max(scores))]
    assert again == (chosen["forget_accuracy"], chosen["retain_accuracy"])


def test_without_checkpoints_the_last_state_stays(tmp_path: Path) -> None:
    method = run(tmp_path, checkpoints=0)
    assert "best_step" not in method.report and "checkpoints" not in method.report


def test_more_checkpoints_than_steps_look_after_each(tmp_path: Path) -> None:
    assert [e["step"] for e in run(tmp_path, checkpoints=20, max_steps=3).report["checkpoints"]] == [1, 2, 3]


def test_held_out_pairs_are_on_the_device_of_the_training(tmp_path: Path) -> None:
    """Batches of a training are moved by Lightning, these are not: a device without a chip shows where they are."""
    data = UnlearningDataModule(
        TinyDataset(), tiny_spec().request, regime="forget+retain", preprocessing=tiny_clip("vit").preprocessing,
        cache_dir=tmp_path,
    )  # fmt: skip
    data.plan(steps=2, batch_size=4)
    data.trainer = cast(Any, SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta"))))
    for pairs in (pairs for held in (data.hold_out(1), data.validation(1)) for part in held.values() for pairs in part):
        assert isinstance(pairs["texts"], list)
        assert {pairs["images"].device.type, pairs["labels"].device.type, pairs["indices"].device.type} == {"meta"}
