"""Synthetic images against a one-image-at-a-time loop written with torch.roll and scipy, and their cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from tiny import APPLE, NAMES, TinyDataset, random_images, tiny_clip
from torch import Tensor

from datamodules.common import synthetic
from datamodules.common.errors import RegimeViolationError
from datamodules.common.images import OPENAI_MEAN, OPENAI_STD, Preprocessing
from datamodules.common.module import NoMeter, UnlearningDataModule
from datamodules.common.spent import Spent
from datamodules.common.synthetic import (
    ImageModel,
    RawSet,
    SynthesisError,
    SyntheticRecipe,
    acceptance_input,
    blur,
    climb,
    make_or_load,
    roll,
)
from methods.common.synthetic_images import encoder_key

SMALL = SyntheticRecipe(count=4, step=2.0, iterations=12, jitter=3, threshold=0.0, tries=2, blur_every=5)
LOW = -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
HIGH = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])


def image_model(kind: str, *, scale: float = 20.0) -> ImageModel:
    clip = tiny_clip(kind)
    with torch.no_grad():
        classifier = clip.zero_shot_classifier(NAMES, ("a photo of a {}",))
        # Centred on what the encoder gives, so that noise does not fall to one name only.
        images = clip.encode_image(random_images(16)).mean(0)
        classifier = F.normalize(classifier - classifier @ images[:, None] * images / images.square().sum(), dim=-1)
    return ImageModel(clip.encode_image, classifier, scale, clip.preprocessing, encoder_key(clip))


def one_image(
    model: ImageModel, target: int, recipe: SyntheticRecipe, index: int
) -> tuple[Tensor | None, list[Tensor], float]:
    """Lip's loop for one image: the accepted x, the path, the nearest miss of the decision."""
    return one_after_another(model, target, recipe, index, recipe.threshold)[:3]


def one_after_another(
    model: ImageModel, target: int, recipe: SyntheticRecipe, index: int, threshold: float
) -> tuple[Tensor | None, list[Tensor], float, float]:
    """Lip's loop as its notes state it, with the threshold that it begins and, last, ends with."""
    side, path, margin = model.preprocessing.image_size, list[Tensor](), 1.0
    low, high = LOW.view(3, 1, 1), HIGH.view(3, 1, 1)
    clip_mean, clip_std = torch.tensor(OPENAI_MEAN).view(3, 1, 1), torch.tensor(OPENAI_STD).view(3, 1, 1)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for attempt in range(recipe.tries):
        stream = np.random.default_rng([recipe.seed, target, index, attempt])
        x = torch.from_numpy(stream.standard_normal((3, side, side), dtype=np.float32))
        shifts = stream.integers(0, recipe.jitter + 1, (recipe.iterations, 2))
        for iteration in range(recipe.iterations):
            down, right = map(int, shifts[iteration])
            x = torch.roll(x, (down, right), dims=(1, 2)).requires_grad_(True)
            seen = x
            if recipe.ascent_input == "accepted":
                seen = x * std + mean
                seen = (seen - seen.min()) / (seen.max() - seen.min())
            feature = model.encode(((seen - clip_mean) / clip_std)[None])[0]
            cosine = feature @ model.classifier[target] / feature.norm()
            (g,) = torch.autograd.grad(model.logit_scale * cosine - recipe.l2 * x.norm(), x)
            x = torch.roll(x.detach() + recipe.step * g / g.norm(), (-down, -right), dims=(1, 2))
            x = torch.max(torch.min(x, high), low)
            if iteration % recipe.blur_every == 0:
                for axis in (1, 2):
                    blurred = gaussian_filter1d(x.numpy(), recipe.blur_sigma, axis=axis, mode="reflect")
                    x = torch.from_numpy(blurred)
            path.append(x)
            pixels = x * std + mean
            pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
            with torch.no_grad():
                feature = model.encode(((pixels - clip_mean) / clip_std)[None])[0]
            p = (model.logit_scale * model.classifier @ feature / feature.norm()).softmax(0)
            others = torch.cat([p[:target], p[target + 1 :]]).max()
            margin = min(margin, abs(float(p[target] - max(others, p.new_tensor(threshold)))))
            if p[target] > others and p[target] > threshold:
                return x, path, margin, threshold
        threshold = max(threshold - recipe.threshold_decay, recipe.threshold_floor)
    return None, path, margin, threshold


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("target", [0, 1, 2, 3])
@pytest.mark.parametrize("ascent_input", ["raw", "accepted"])
def test_a_batch_equals_one_image_at_a_time(kind: str, target: int, ascent_input: Literal["raw", "accepted"]) -> None:
    model, recipe = image_model(kind), dataclasses.replace(SMALL, ascent_input=ascent_input)
    alone = [one_image(model, target, recipe, index) for index in range(4)]
    if min(margin for _, _, margin in alone) < 1e-4:
        pytest.skip("a decision hangs on a rounding error")
    wanted = [x for x, _, _ in alone if x is not None]
    batch = climb(model, target, recipe)
    assert len(batch) == len(wanted)
    if wanted:
        torch.testing.assert_close(batch, torch.stack(wanted), atol=1e-4, rtol=0)


@pytest.mark.parametrize("tries", [3, None])
def test_a_threshold_lowered_for_all_later_images_equals_one_image_after_another(tries: int | None) -> None:
    model = image_model("vit")
    recipe = dataclasses.replace(
        SMALL, count=6, lowered_for="later", tries=tries, threshold=0.9, threshold_decay=0.2, threshold_floor=0.1
    )
    compared = 0
    for target in range(4):
        threshold, wanted, margins, thresholds = recipe.threshold, [], [], []
        for index in range(recipe.count):
            alone = dataclasses.replace(recipe, tries=tries or 20)
            x, _, margin, threshold = one_after_another(model, target, alone, index, threshold)
            wanted += [] if x is None else [x]
            margins.append(margin)
            thresholds.append(threshold)
        if min(margins) < 1e-4 or (tries is None and len(wanted) < recipe.count):
            continue  # a decision hangs on a rounding error, or it would not end
        found = climb(model, target, recipe)
        assert len(found) == len(wanted)
        if wanted:
            torch.testing.assert_close(found, torch.stack(wanted), atol=1e-4, rtol=0)
        compared += recipe.threshold > thresholds[-1]
    assert compared, "a failed try lowered it somewhere"


def test_without_a_limit_it_tries_until_all_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def try_once(model: object, target: int, recipe: object, attempts: list[tuple[int, int]], threshold: float) -> dict:
        tries.append(len(attempts))
        return {n: torch.zeros(3, 32, 32) for n, attempt in attempts if attempt >= 40 + n}

    monkeypatch.setattr(synthetic, "try_once", try_once)
    model = image_model("vit")
    assert len(climb(model, 0, dataclasses.replace(SMALL, count=3, tries=None))) == 3 and len(tries) == 43
    assert len(climb(model, 0, dataclasses.replace(SMALL, count=3, tries=42))) == 2


class Schedule:
    """Stands in for the acceptance: image i leaves after its own iteration, whatever it looks like."""

    def __init__(self, leaves: list[int], patch: pytest.MonkeyPatch) -> None:
        self.leaves, self.waiting = np.array(leaves), np.arange(len(leaves))
        self.sizes: list[int] = []
        patch.setattr(synthetic, "_accepted", self)

    def __call__(self, model: ImageModel, target: int, x: Tensor, threshold: float) -> Tensor:
        """Which of the images that still wait leave now."""
        go = self.leaves[self.waiting] == len(self.sizes)
        self.sizes.append(len(x))
        self.waiting = self.waiting[~go]
        return torch.from_numpy(go)


def test_sixty_four_together_equal_sixty_four_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps = image_model("vit"), 4
    recipe = dataclasses.replace(SMALL, count=64, iterations=steps, tries=1, blur_every=3, threshold=2.0)
    paths = [one_image(model, 1, recipe, index)[1] for index in range(64)]  # none reaches probability 2
    leaves = np.random.default_rng(0).integers(0, steps, 64).tolist()
    schedule = Schedule(leaves, monkeypatch)
    together = climb(model, 1, recipe)
    assert schedule.sizes == [sum(leave >= step for leave in leaves) for step in range(steps)]
    assert schedule.sizes[0] == 64 > schedule.sizes[1] > schedule.sizes[-1] > 0
    alone = torch.stack([path[leave] for path, leave in zip(paths, leaves, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert (alone[1:] - alone[:-1]).abs().amax((1, 2, 3)).min() > 1, "no two images are alike"


def test_those_that_leave_do_not_change_those_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model, recipe = image_model("vit"), dataclasses.replace(SMALL, count=6, iterations=4, tries=1)
    Schedule([3] * 6, monkeypatch)
    stayed = climb(model, 2, recipe)
    Schedule([1] * 6, monkeypatch)
    early = climb(model, 2, recipe)
    Schedule([1, 3] * 3, monkeypatch)
    mixed = climb(model, 2, recipe)
    torch.testing.assert_close(mixed[0::2], early[0::2], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[1::2], stayed[1::2], atol=1e-5, rtol=0)
    assert (stayed - early).abs().amax((1, 2, 3)).min() > 0.1


def test_an_image_is_accepted_or_not_whatever_stands_beside_it() -> None:
    model, x = image_model("vit"), random_images(64)
    decided = synthetic._accepted(model, 0, x, 0.3)
    assert torch.equal(decided, torch.cat([synthetic._accepted(model, 0, image[None], 0.3) for image in x]))
    assert 0 < decided.sum() < 64


def test_one_step_equals_the_formula_worked_out_for_a_linear_encoder() -> None:
    random, side = np.random.default_rng(0), 6
    a = random.standard_normal((5, 3 * side * side))
    w = random.standard_normal((3, 5))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    x, shifts = 0.3 * random.standard_normal((3, 3, side, side)), [(2, 5), (0, 1), (0, 0)]
    scale, step, l2, target = 7.0, 3.0, 0.5, 2
    mean, std = (np.array(each)[:, None, None] for each in (OPENAI_MEAN, OPENAI_STD))
    wanted = []
    for image, shift in zip(x, shifts, strict=True):
        rolled = np.roll(image, shift, axis=(1, 2))
        f = a @ ((rolled - mean) / std).ravel()
        unit = f / np.linalg.norm(f)
        slope = (w[target] - (w[target] @ unit) * unit) / np.linalg.norm(f)  # of the cosine, by the embedding
        gradient = scale * (a.T @ slope).reshape(3, side, side) / std - l2 * rolled / np.linalg.norm(rolled)
        moved = np.roll(rolled + step * gradient / np.linalg.norm(gradient), [-s for s in shift], axis=(1, 2))
        wanted.append(np.clip(moved, LOW.numpy()[:, None, None], HIGH.numpy()[:, None, None]))
    encoder = torch.from_numpy(a.T).float()
    classifier = torch.from_numpy(w).float()
    model = ImageModel(lambda images: images.flatten(1) @ encoder, classifier, scale, Preprocessing(side), "linear")
    recipe = SyntheticRecipe(step=step, l2=l2)
    found = synthetic._ascend(model, target, torch.from_numpy(x).float(), torch.tensor(shifts), recipe)
    torch.testing.assert_close(found.double(), torch.from_numpy(np.stack(wanted)), atol=1e-5, rtol=0)
    assert (found.numpy() - x).min() < -0.1 and (found.numpy() - x).max() > 0.1


def test_accepted_and_rejected_names_both_occur_above() -> None:
    accepted = {(k, t): len(climb(image_model(k), t, SMALL)) for k in ("resnet", "vit") for t in range(4)}
    assert any(accepted.values()) and not all(count == 4 for count in accepted.values())


def test_an_impossible_threshold_accepts_nothing_and_says_so(tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, threshold=1.0, threshold_floor=1.0, iterations=2)
    model = image_model("vit")
    assert climb(model, 0, recipe).shape == (0, 3, 32, 32)
    with pytest.raises(SynthesisError, match="threshold"):
        make_or_load(model, [0], recipe, tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_the_threshold_decays_once_a_try_down_to_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def never(model: ImageModel, target: int, x: Tensor, threshold: float) -> Tensor:
        seen.append(threshold)
        return torch.zeros(len(x), dtype=torch.bool)

    monkeypatch.setattr(synthetic, "_accepted", never)
    recipe = SyntheticRecipe(count=1, iterations=1, jitter=1, threshold=0.5, threshold_decay=0.03, tries=4)
    climb(image_model("vit"), 0, recipe)
    assert seen == pytest.approx([0.5, 0.47, 0.45, 0.45])


@pytest.mark.parametrize("size", [(5, 5), (4, 7)])
def test_roll_equals_torch_roll(size: tuple[int, int]) -> None:
    x = torch.randn(4, 3, *size)
    shift = torch.tensor([[0, 0], [1, 3], [-2, 5], [9, -9]])
    wanted = torch.stack([torch.roll(image, tuple(s), dims=(1, 2)) for image, s in zip(x, shift.tolist(), strict=True)])
    assert torch.equal(roll(x, shift), wanted)
    assert torch.equal(roll(roll(x, shift), -shift), x)


@pytest.mark.parametrize("sigma", [0.5, 1.3])
def test_blur_equals_scipy(sigma: float) -> None:
    x = torch.randn(2, 3, 9, 12)
    wanted = gaussian_filter1d(x.double().numpy(), sigma, axis=2, mode="reflect")
    wanted = gaussian_filter1d(wanted, sigma, axis=3, mode="reflect")
    torch.testing.assert_close(blur(x, sigma).double(), torch.from_numpy(wanted), atol=1e-5, rtol=0)


def test_a_step_has_the_length_of_the_recipe() -> None:
    model, x = image_model("vit"), 0.1 * random_images(3)
    still = torch.zeros(3, 2, dtype=torch.long)
    moved = synthetic._ascend(model, 1, x, still, dataclasses.replace(SMALL, step=0.25))
    torch.testing.assert_close((moved - x).flatten(1).norm(dim=1), torch.full((3,), 0.25), atol=1e-4, rtol=0)


def test_a_step_stays_between_black_and_white() -> None:
    moved = synthetic._ascend(
        image_model("vit"), 1, random_images(3), torch.ones(3, 2).long(), dataclasses.replace(SMALL, step=1e4)
    )
    assert torch.allclose(moved.amin((0, 2, 3)), LOW) and torch.allclose(moved.amax((0, 2, 3)), HIGH)


def test_a_step_climbs_the_objective() -> None:
    model, x = image_model("vit"), 0.1 * random_images(3)
    moved = synthetic._ascend(model, 1, x, torch.zeros(3, 2).long(), dataclasses.replace(SMALL, step=0.05))
    with torch.no_grad():
        gain = model.cosines(model.preprocessing.normalise(moved)) - model.cosines(model.preprocessing.normalise(x))
    assert (gain[:, 1] > 0).all()


def test_acceptance_input_fills_zero_to_one_before_normalisation() -> None:
    identity = Preprocessing(32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    stretched = acceptance_input(random_images(4), identity)
    assert torch.allclose(stretched.amin((1, 2, 3)), torch.zeros(4))
    assert torch.allclose(stretched.amax((1, 2, 3)), torch.ones(4))
    flat = acceptance_input(torch.zeros(1, 3, 4, 4).fill_(0.0), identity)
    assert torch.isfinite(flat).all()


def test_recipe_scales_pixel_lengths_with_the_side() -> None:
    assert SyntheticRecipe().for_side(224) == SyntheticRecipe()
    small = SyntheticRecipe().for_side(56)
    assert (small.step, small.jitter) == (6.25, 4)
    assert dataclasses.replace(small, step=25.0, jitter=16) == SyntheticRecipe()


EASY = dataclasses.replace(SMALL, count=2, iterations=1, tries=1, threshold=-1.0)


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> ImageModel:
    """A model for which every image is accepted at once."""

    def always(model: ImageModel, target: int, x: Tensor, threshold: float) -> Tensor:
        return torch.ones(len(x), dtype=torch.bool)

    monkeypatch.setattr(synthetic, "_accepted", always)
    return image_model("vit")


def test_second_time_comes_from_the_cache_with_the_same_images(easy: ImageModel, tmp_path: Path) -> None:
    first, again = (make_or_load(easy, [2, 0], EASY, tmp_path) for _ in range(2))
    assert (first.cached, again.cached) == (False, True)
    assert torch.equal(first.images, again.images) and first.labels.tolist() == [2, 2, 0, 0]
    assert torch.equal(first.labels, again.labels) and again.spent == first.spent and first.spent.seconds > 0
    raw = torch.cat([climb(easy, 2, EASY), climb(easy, 0, EASY)])
    torch.testing.assert_close(first.images, acceptance_input(raw, easy.preprocessing))


CHANGES = {
    "count": 3, "step": 2.5, "iterations": 2, "jitter": 2, "l2": 0.5, "blur_sigma": 0.7, "blur_every": 3,
    "lowered_for": "later", "ascent_input": "accepted",
    "threshold": 0.1, "threshold_decay": 0.1, "threshold_floor": 0.3, "tries": 3, "seed": 7,
}  # fmt: skip


def test_every_recipe_field_is_in_the_key(easy: ImageModel, tmp_path: Path) -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(SyntheticRecipe)}
    make_or_load(easy, [0], EASY, tmp_path)
    for name, value in CHANGES.items():
        changed = dataclasses.replace(EASY, **{name: value})
        assert not make_or_load(easy, [0], changed, tmp_path).cached, name


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other weights"},
        {"logit_scale": 21.0},
        {"preprocessing": Preprocessing(32, mean=(0.5, 0.5, 0.5))},
        {"classifier": torch.eye(4, 16)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_field_of_the_model_is_in_the_key(easy: ImageModel, tmp_path: Path, change: dict) -> None:
    make_or_load(easy, [0], EASY, tmp_path)
    assert not make_or_load(dataclasses.replace(easy, **change), [0], EASY, tmp_path).cached
    assert not make_or_load(easy, [1], EASY, tmp_path).cached
    assert make_or_load(easy, [0], EASY, tmp_path).cached


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_key_is_that_of_the_image_encoder(kind: str) -> None:
    assert encoder_key(tiny_clip(kind)) == encoder_key(tiny_clip(kind))
    for name, value in tiny_clip(kind).visual.named_parameters():
        if value.ndim > 1:
            clip = tiny_clip(kind)
            with torch.no_grad():
                clip.visual.get_parameter(name)[(0,) * value.ndim] += 1e-3
            assert encoder_key(clip) != encoder_key(tiny_clip(kind)), name
            break


def test_regime_none_gets_no_synthetic_images(easy: ImageModel, tmp_path: Path) -> None:
    for regime in ("none", "names"):
        data = UnlearningDataModule(
            TinyDataset(), APPLE, regime=regime, preprocessing=easy.preprocessing, cache_dir=tmp_path
        )
        if regime == "none":
            with pytest.raises(RegimeViolationError):
                data.synthetic_forget_set(easy, [0], EASY)
        else:
            assert len(data.synthetic_forget_set(easy, [0], EASY).images) == 2


class _Meter(NoMeter):
    def __init__(self) -> None:
        self.added: list[Spent] = []

    def add(self, spent: Spent) -> None:
        self.added.append(spent)


def test_what_a_kept_set_cost_is_added(easy: ImageModel, tmp_path: Path) -> None:
    data = UnlearningDataModule(
        TinyDataset(), APPLE, regime="names", preprocessing=easy.preprocessing, cache_dir=tmp_path
    )
    data.meter = meter = _Meter()
    made = data.synthetic_forget_set(easy, [0], EASY)
    assert meter.added == [] and made.spent.seconds > 0  # it was on the clock
    again = data.synthetic_forget_set(easy, [0], EASY)
    assert meter.added == [made.spent] and torch.equal(again.images, made.images)


def test_a_set_keeps_what_it_cost() -> None:
    spent = Spent(12.5, 20.25, 10**15, 10**9)
    back = RawSet.from_bytes(RawSet(np.ones((1, 3, 2, 2), np.float32), np.array([4]), spent).to_bytes())
    assert (back.spent, back.labels.tolist()) == (spent, [4])
