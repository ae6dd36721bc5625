"""One rule for the state that stands: the best on held-out pairs, or an early stop on forget pairs alone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import class_pairs, fit
from tiny import tiny_clip, tiny_spec

from methods.common.base import UnlearningMethod
from methods.common.held_out import HeldOut
from methods.common.registry import Registry
from methods.graddiff import GradDiff
from methods.graddiff import Hyperparameters as GradDiffParameters
from methods.gradient_ascent import GradientAscent
from methods.gradient_ascent import Hyperparameters as AscentParameters

REGISTRY = Registry()
STEPPING = (
    "alignment_calibration", "amnesiac", "bad_teacher", "cliperase", "graddiff", "kl", "lotus", "multidelete", "munba",
    "neighbour_imitation", "rmu", "salun", "scrub", "sfron", "simnpo",
)  # fmt: skip
FORGETTING = ("boundary_shrink", "delete", "gradient_ascent", "jit", "npo")
COMMON = {"batch_size": 4, "max_steps": 12}


def ascent(tmp_path: Path, **values: Any) -> Any:
    return fit(GradientAscent, AscentParameters(**{**COMMON, **values}), tiny_clip("vit"), tmp_path)


def test_every_method_with_steps_on_the_clip_has_the_choice_and_no_other_has() -> None:
    with_choice = {
        name
        for name in REGISTRY.names()
        if any(f.name == "checkpoints" for f in dataclasses.fields(REGISTRY.declaration(name).hyperparameters))
    }
    assert with_choice == {*STEPPING, *FORGETTING}
    for name in with_choice:
        regime = REGISTRY.declaration(name).card.regime
        assert regime == ("forget" if name in FORGETTING else "forget+retain"), name


def test_a_method_of_forget_data_stops_at_the_first_look_at_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [(0.9, math.nan), (0.26, math.nan), (0.25, math.nan)]  # four names: chance is 0.25
    monkeypatch.setattr(HeldOut, "accuracy", lambda self: left.pop(0))
    method = ascent(tmp_path, checkpoints=6)
    assert [look["step"] for look in method.report["checkpoints"]] == [2, 4, 6] and method.report["last_step"] == 6
    stopped = method.snapshot()
    monkeypatch.undo()
    assert "checkpoints" not in ascent(tmp_path).report
    monkeypatch.setattr(HeldOut, "accuracy", lambda self: (0.9, math.nan))
    whole = ascent(tmp_path, checkpoints=6)
    assert whole.report["last_step"] == 12
    assert any(not torch.equal(stopped[name], whole.snapshot()[name]) for name in stopped)


def test_looks_see_forget_pairs_alone_where_the_regime_gives_no_others() -> None:
    clip = tiny_clip("vit")
    held_out = HeldOut(clip, tiny_spec(), [class_pairs([0, 0, 0], 1)], [])
    both = HeldOut(clip, tiny_spec(), [class_pairs([0, 0, 0], 1)], [class_pairs([1, 2], 2)])
    assert held_out.accuracy()[0] == both.accuracy()[0] and math.isnan(held_out.accuracy()[1])
    assert held_out.chance == both.chance == 1 / 4


def test_a_method_of_both_ends_in_the_best_state_that_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [(0.5, 0.5), (0.5, 0.9), (0.5, 0.7), (0.5, 0.4), (0.5, 0.3)]  # the first is of the model as it came
    left = list(scores)
    monkeypatch.setattr(HeldOut, "_accuracies", lambda self, images, rows: left.pop(0))
    states: dict[int, dict[str, torch.Tensor]] = {}
    snapshot = UnlearningMethod.snapshot

    def spy(self: UnlearningMethod[Any]) -> dict[str, torch.Tensor]:
        states[len(states)] = snapshot(self)
        return snapshot(self)

    monkeypatch.setattr(UnlearningMethod, "snapshot", spy)
    parameters = GradDiffParameters(**COMMON, learning_rate=1e-3, checkpoints=4)
    method = fit(GradDiff, parameters, tiny_clip("vit"), tmp_path)
    assert method.report["best_step"] == 3 and [each["step"] for each in method.report["checkpoints"]] == [3, 6, 9, 12]
    assert all(torch.equal(value, states[0][name]) for name, value in snapshot(method).items())
