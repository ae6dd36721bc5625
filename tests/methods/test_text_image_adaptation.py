"""Text-image space adaptation: the objective in column vectors, its minimum, and the merge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny import CONTEXT, NAMES, TEXT, VOCABULARY, WIDTH, tiny_clip, tiny_spec
from torch import Tensor, nn

from methods.common.clip import Clip
from methods.common.projections import text_features, text_projection
from methods.text_image_adaptation import Hyperparameters, Problem, TextImageAdaptation, neutral, solve


def custom_text_clip(*, bias: bool) -> Clip:
    """A CLIP whose text encoder is a module of its own, as in open_clip's `CustomTextCLIP`."""
    from open_clip.transformer import TextTransformer

    plain = tiny_clip("vit")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        text = TextTransformer(CONTEXT, VOCABULARY, TEXT["width"], 2, 1, output_dim=WIDTH, proj_bias=bias).eval()
        if bias:
            text.text_projection.bias.data.normal_()

    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual, self.text, self.logit_scale = plain.model.visual, text, plain.model.logit_scale

        def encode_image(self, images: Tensor) -> Tensor:
            return self.visual(images)

        def encode_text(self, tokens: Tensor) -> Tensor:
            return self.text(tokens)

    return Clip(Custom().eval(), plain.tokenize, plain.preprocessing, "custom", "small")


MAKERS: dict[str, Callable[[], Clip]] = {
    "parameter": lambda: tiny_clip("vit"),
    "nested parameter": lambda: custom_text_clip(bias=False),
    "linear layer": lambda: custom_text_clip(bias=True),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def clip(request: pytest.FixtureRequest) -> Clip:
    made: Clip = request.param()
    return made


@torch.no_grad()
def test_features_times_the_matrix_are_the_embeddings(clip: Clip) -> None:
    texts = ["a photo of a cat", "", "the bus here"]
    projection, before = text_projection(clip), clip.encode_text(texts)
    features = text_features(clip, texts)
    assert features.shape == (3, TEXT["width"])
    bias = torch.zeros(WIDTH) if projection.bias is None else projection.bias
    torch.testing.assert_close(features.float() @ projection.matrix + bias, before)
    torch.testing.assert_close(clip.encode_text(texts), before)
    edit = torch.randn(TEXT["width"], WIDTH, generator=torch.Generator().manual_seed(0))
    projection.replace(projection.matrix + edit)
    torch.testing.assert_close(clip.encode_text(texts), before + features.float() @ edit, rtol=1e-4, atol=1e-5)


def problem(seed: int = 0) -> Problem:
    random = torch.Generator().manual_seed(seed)
    shapes = {"weight": (9, 4), "forget": (1, 9), "target": (1, 4), "keep": (5, 9)}
    return Problem(**{k: torch.randn(s, generator=random, dtype=torch.float64) for k, s in shapes.items()})


def test_objective_in_the_papers_column_vectors() -> None:
    case, random = problem(), np.random.default_rng(0)
    a, b = random.normal(size=(2, 9)), random.normal(size=(4, 2))  # B A: features to the joint space
    w, x_f, x_p = case.weight.numpy().T, case.forget.numpy().T, case.keep.numpy().T
    e, edited = case.target.numpy().T, w + 0.5 * b @ a
    wanted = (
        1.3 * np.linalg.norm(e - edited @ x_f)
        + 0.4 * np.linalg.norm(w @ x_p - edited @ x_p)
        + 0.7 * np.linalg.norm(b @ a)
    )
    found = case.loss(torch.from_numpy((b @ a).T), 0.5, (1.3, 0.4, 0.7))
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_without_other_terms_the_names_reach_the_empty_text() -> None:
    torch.manual_seed(0)
    edit, loss = solve(problem(), weights=(1.0, 0.0, 0.0), rank=2, alpha=2.0, learning_rate=0.01, steps=1500)
    assert problem().reduction(edit) > 0.98 and float(loss) < 0.05
    assert torch.linalg.matrix_rank(edit) <= 2


def test_the_minimum_is_that_of_a_search_over_rank_one_edits() -> None:
    """One name to forget, no other terms but the penalty: the best edit is along x_f, and then one number is free."""
    case = problem(3)
    gap, x = case.target - case.forget @ case.weight, case.forget
    # D = t gap x / |x|^2 leaves (1 - t) of the gap at the price t |gap| / |x|: linear in t, so all or nothing
    torch.manual_seed(0)
    worth = 1.2 / float(x.norm())
    moved, _ = solve(case, weights=(worth, 0.0, 1.0), rank=1, alpha=1.0, learning_rate=0.02, steps=1500)
    assert case.reduction(moved) > 0.97
    torch.testing.assert_close(moved, x.T @ gap / x.square().sum(), rtol=0, atol=0.05)
    still, _ = solve(case, weights=(0.8 / float(x.norm()), 0.0, 1.0), rank=1, alpha=1.0, learning_rate=0.02, steps=1500)
    assert case.reduction(still) < 0.03


def test_the_kept_names_hold_the_edit_back() -> None:
    edits = []
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        edit, _ = solve(problem(), weights=(1.3, weight, 0.0), rank=3, alpha=3.0, learning_rate=0.01, steps=1500)
        edits.append(float((problem().keep @ edit).norm()))
    assert edits[1] < 0.05 * edits[0]


def test_neutral_is_the_empty_text_unless_it_reads_as_a_forgotten_name() -> None:
    torch.manual_seed(0)
    rows = torch.eye(3, dtype=torch.float64)
    kept = torch.tensor([[0.1, 0.9, 0.2]], dtype=torch.float64)
    torch.testing.assert_close(neutral(kept, rows, 1), kept / kept.norm())
    moved = neutral(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64), rows, 1)
    assert int((moved @ rows.T).argmax()) > 0 and float(moved.norm()) == pytest.approx(1.0)


class Stop:
    should_stop = False


def test_the_names_end_at_the_empty_text_and_only_the_projection_changes(clip: Clip) -> None:
    before = {n: v.clone() for n, v in clip.model.state_dict().items()}
    h = Hyperparameters(retain_weight=0.0, edit_weight=0.0, alpha=5.0, max_steps=800, tries=1)
    method = TextImageAdaptation(clip, tiny_spec(), h)
    torch.manual_seed(0)
    with torch.no_grad():
        empty, apple = clip.encode_text([""]), clip.encode_text([NAMES[0]])
    object.__setattr__(method, "_trainer", Stop())
    method.on_fit_start()
    method.training_step(0, 0)
    changed = [n for n, v in clip.model.state_dict().items() if not torch.equal(v, before[n])]
    assert [name.removesuffix(".weight") for name in changed] in (["text_projection"], ["text.text_projection"])
    with torch.no_grad():
        after = clip.encode_text([NAMES[0]])
    bias = text_projection(clip).bias
    target = method.problem.target if bias is None else method.problem.target + bias
    assert float((after - target).norm()) < 0.1 * float((apple - target).norm())
    assert torch.nn.functional.cosine_similarity(target, empty).item() > 0.2
    assert method.trainer.should_stop and method.report["reduction"] > 0.9


def test_a_try_that_forgets_too_little_starts_again_with_a_larger_weight() -> None:
    h = Hyperparameters(forget_weight=0.0, max_steps=2, tries=3)
    method = TextImageAdaptation(tiny_clip("vit"), tiny_spec(), h)
    object.__setattr__(method, "_trainer", Stop())
    method.on_fit_start()
    for index in range(3):
        assert not method.trainer.should_stop
        method.training_step(0, index)
    assert method.trainer.should_stop
    assert method.report["tries"] == 3 and method.report["forget_weight"] == pytest.approx(0.1)
