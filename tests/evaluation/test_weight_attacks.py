"""Rounded, pruned and shaken weights: by hand, and hidden classes that each must bring back."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from examined import context_of
from hypothesis import given
from hypothesis import strategies as st
from tiny import APPLE, NAMES, tiny_clip
from torch import Tensor, nn

from benchmark.evaluation import attack_level
from benchmark.evaluation.measures import noised, pruned, quantised
from benchmark.evaluation.numerics.weights import weight_matrices
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip

PROJECTION = "visual.proj"
Weights = st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=12)


def projection(clip: Clip) -> Tensor:
    return dict(clip.model.named_parameters())[PROJECTION].data


def test_every_matrix_of_both_towers_counts_and_no_vector() -> None:
    clip = tiny_clip("vit")
    axes = {matrix.name: matrix.output_axis for matrix in weight_matrices(clip.model)}
    assert axes[PROJECTION] == 1 and axes["text_projection"] == 1, "x @ W: a column an output"
    assert axes["token_embedding.weight"] == axes["visual.conv1.weight"] == 0, "W @ x: a row an output"
    assert not {name for name in axes if name.endswith("bias") or "ln_" in name} and "logit_scale" not in axes


# -- rounding ------------------------------------------------------------------------------------------------------


def test_rounding_by_hand() -> None:
    weight = torch.tensor([[7.0, 3.4, -3.6, 0.4], [0.0, 0.0, 0.0, 0.0], [-0.7, 0.34, 0.16, 0.14]])
    expected = torch.tensor([[7.0, 3.0, -4.0, 0.0], [0.0, 0.0, 0.0, 0.0], [-0.7, 0.3, 0.2, 0.1]])
    assert torch.allclose(quantised.rounded(weight, 4, 0), expected)
    assert torch.allclose(quantised.rounded(weight.T, 4, 1), expected.T)


@given(Weights, st.sampled_from([2, 4, 8]))
def test_rounding_has_few_levels_moves_by_half_a_step_at_most_and_twice_is_once(values: list[float], bits: int) -> None:
    weight = torch.tensor([values])
    once = quantised.rounded(weight, bits, 0)
    step = float(weight.abs().max()) / (2 ** (bits - 1) - 1)
    assert len(once.unique()) <= 2**bits - 1
    assert float((once - weight).abs().max()) <= step / 2 + 1e-6
    assert torch.allclose(quantised.rounded(once, bits, 0), once, atol=1e-6)


def test_an_edit_below_half_a_step_is_undone_and_the_class_is_back() -> None:
    """All weights of the original lie on the grid of 4 bits; the edit moves none across the middle between two.

    It moves each one against the class that the original gives most images, which it then loses.
    """
    original = quantised.quantised(tiny_clip("vit"), 4)
    context = context_of(original, APPLE, told=True, original=original)
    answers = (context.images() @ context.classifier().T).argmax(dim=1)
    hidden = int(answers[answers == context.labels()].mode().values)
    request = ForgetRequest(classes=(NAMES[hidden],))
    edited, matrix = original.copy(), projection(original)
    step = matrix.abs().amax(dim=0, keepdim=True) / 7
    largest = matrix.abs() == matrix.abs().amax(dim=0, keepdim=True)
    rows, features = context.classifier(), context.features()
    mean = features[context.labels() == hidden].mean(dim=0)
    against = mean[:, None] * (rows.mean(dim=0) - rows[hidden])[None, :]
    projection(edited).add_((0.49 * step * against.sign()).masked_fill(largest, 0.0))
    assert torch.allclose(projection(quantised.quantised(edited, 4)), matrix, atol=1e-6)
    after = context_of(edited, request, told=True, original=original)
    name = "forget/quantised_acc1@4"
    surface = (after.images() @ after.classifier().T).argmax(dim=1)[after.forget] == hidden
    assert float(surface.double().mean()) == 0.0, "the class is gone"
    expected = float((answers[after.forget] == hidden).double().mean())
    assert quantised.measure(after)[name].value == expected > 0.5, "and back"


# -- pruning -------------------------------------------------------------------------------------------------------


def test_pruning_by_hand() -> None:
    weight = torch.tensor([[3.0, -1.0], [0.5, -4.0]])
    assert torch.equal(pruned.without_smallest(weight, 0.5), torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
    assert torch.equal(pruned.without_smallest(weight, 0.49), torch.tensor([[3.0, -1.0], [0.0, -4.0]]))
    assert torch.equal(pruned.without_smallest(weight, 0.0), weight)
    assert torch.equal(pruned.without_smallest(torch.ones(4), 0.5), torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_an_edit_of_small_weights_is_pruned_away_and_the_class_is_back() -> None:
    """Half of the original's last matrix is zero; the edit puts small weights there."""
    original = tiny_clip("vit")
    projection(original).copy_(pruned.without_smallest(projection(original), 0.5))
    empty = projection(original) == 0
    small = 0.9 * float(projection(original)[~empty].abs().min())
    edited = original.copy()
    projection(edited).add_(small * empty)
    assert torch.equal(projection(pruned.pruned(edited, 0.5)), projection(original))
    assert not torch.equal(projection(pruned.pruned(edited, 0.2)), projection(original))


# -- noise ---------------------------------------------------------------------------------------------------------


def test_noise_is_as_long_as_asked_and_the_same_for_all_models_of_a_draw() -> None:
    clip, other = tiny_clip("vit"), tiny_clip("vit", seed=1)
    for matrix in weight_matrices(other.model):
        matrix.value.mul_(2.0)
    shaken, twice = noised.noised(clip, 0.1, 5), noised.noised(clip, 0.1, 5)
    assert all(torch.equal(value, twice.model.state_dict()[name]) for name, value in shaken.model.state_dict().items())
    name = "token_embedding.weight"
    noise = [
        (noised.noised(model, 0.1, 5).model.state_dict()[name] - model.model.state_dict()[name]).flatten()
        for model in (clip, other)
    ]
    length = float(clip.model.state_dict()[name].norm())
    assert float(noise[0].norm()) == pytest.approx(0.1 * length, rel=0.02)
    assert float(torch.cosine_similarity(*noise, dim=0)) == pytest.approx(1.0, abs=1e-4)
    untouched = noised.noised(clip, 0.0, 5).model.state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in clip.model.state_dict().items())


class TwoAnswers(nn.Module):
    """Gives the first axis `first` and the second `second`: one weight each."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[first, second]]))


def test_a_class_that_lost_by_a_hair_comes_back_as_often_as_theory_says() -> None:
    """Scores 1 - d and 1 + d with noise of s times their root mean square each: P(first wins) = Phi(-d sqrt(2) / s)."""
    d, size, draws = 0.05, 0.1, 600
    base = tiny_clip("vit")
    clip = Clip(TwoAnswers(1 - d, 1 + d), base.tokenize, base.preprocessing, "two")
    wins = 0
    for draw in range(draws):
        ((first, second),) = noised.noised(clip, size, draw).model.weight.tolist()
        wins += first > second
    rms = math.sqrt(((1 - d) ** 2 + (1 + d) ** 2) / 2)
    expected = NormalDist().cdf(-d * math.sqrt(2) / (size * rms))
    assert 0.1 < expected < 0.4
    assert wins / draws == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / draws))


# -- what they report ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "name", "level", "ladder"),
    [(pruned, "pruned_acc1", "share_of_weights", "SHARES"), (noised, "noised_acc1", "relative_size", "SIZES")],
)
def test_the_level_is_of_the_original_and_told(
    measure: object, name: str, level: str, ladder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, ladder, (0.5, 0.0))
    monkeypatch.setattr(
        attack_level.Validation, "right", lambda self, clip, _: torch.full((len(self.rows),), clip is original)
    )  # any edit at all makes the original forget everything
    original = tiny_clip("vit")
    context = context_of(tiny_clip("vit", seed=1), APPLE, told=True, original=original)
    with pytest.raises(attack_level.NotMeasurableError, match="at every level"):
        measure.measure(context)  # type: ignore[attr-defined]
    monkeypatch.setattr(
        attack_level.Validation, "right", lambda self, clip, _: torch.ones(len(self.rows), dtype=torch.bool)
    )
    metrics = measure.measure(context)  # type: ignore[attr-defined]
    assert set(metrics) == {f"forget/{name}", f"retain/{name}"}
    assert (metrics[f"forget/{name}"].n, metrics[f"retain/{name}"].n) == (10, 30)
    assert context.report[name.removesuffix("_acc1")][level] == 0.5
