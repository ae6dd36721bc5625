"""CCUP and the nullspace projection against a numerical minimiser, their limits, and the side W goes to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tiny import APPLE, NAMES, WIDTH, random_images, tiny_clip, tiny_spec
from torch import Tensor

from benchmark.models.loading import load_clip
from datamodules.common.images import Preprocessing
from datamodules.common.module import ForgetSpec, NameSet
from datamodules.common.registry import dataset_class
from datamodules.common.request import ForgetRequest
from methods.ccup import CCUP, consistent_projection
from methods.ccup import Hyperparameters as CCUPParameters
from methods.common.base import ClosedFormMethod
from methods.common.card import NoHyperparameters
from methods.common.clip import Clip
from methods.common.projections import NoProjectionError, visual_projection
from methods.logit_mask import LogitMask
from methods.nullspace import Hyperparameters as NullspaceParameters
from methods.nullspace import Nullspace, partial_projection

KINDS = ("resnet", "vit")


def unit_columns(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, columns, generator=generator, dtype=torch.float64), dim=0)


def run(method: ClosedFormMethod) -> None:
    with torch.no_grad():
        method.edit()


@pytest.mark.parametrize(
    ("lam", "mu", "forget", "retain"), [(100, 10, 1, 4), (3, 0, 2, 3), (1, 30, 3, 9), (7, 2, 1, 0)]
)
def test_closed_form_is_the_minimiser(lam: float, mu: float, forget: int, retain: int) -> None:
    tf, tr = unit_columns(6, forget, 1), unit_columns(6, retain, 2)
    eye = torch.eye(6, dtype=torch.float64)
    w = eye.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [w], max_iter=800, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        value = ((w - eye) ** 2).sum() + lam * ((w @ tf) ** 2).sum() + mu * ((w @ tr - tr) ** 2).sum()
        value.backward()
        return value

    optimizer.step(objective)
    solution = consistent_projection(tf, tr, forget_weight=lam, retain_weight=mu)
    torch.testing.assert_close(solution, w.detach(), atol=1e-7, rtol=0)


def test_one_name_without_retention_is_a_partial_projection() -> None:
    t = unit_columns(7, 1, 3)
    for lam in (0.5, 1.0, 100.0):
        solution = consistent_projection(t, t[:, :0], forget_weight=lam, retain_weight=10)
        torch.testing.assert_close(solution, torch.eye(7).double() - lam / (1 + lam) * t @ t.T)
        torch.testing.assert_close(solution, partial_projection(t, lam / (1 + lam)))


def test_several_names_without_retention_shrink_each_singular_direction() -> None:
    tf = unit_columns(7, 3, 4)
    u, s, _ = torch.linalg.svd(tf, full_matrices=False)
    wanted = torch.eye(7).double() - u @ torch.diag(5 * s**2 / (1 + 5 * s**2)) @ u.T
    torch.testing.assert_close(consistent_projection(tf, tf[:, :0], forget_weight=5, retain_weight=0), wanted)


def test_infinite_lambda_is_the_hard_projector() -> None:
    tf = unit_columns(7, 3, 5)
    solution = consistent_projection(tf, tf[:, :0], forget_weight=1e10, retain_weight=0)
    torch.testing.assert_close(solution, partial_projection(tf, 1.0), atol=1e-6, rtol=0)


def test_infinite_lambda_and_mu_are_the_oblique_projector() -> None:
    tf, tr = unit_columns(8, 2, 6), unit_columns(8, 3, 7)
    n = torch.eye(8).double() - tr @ torch.linalg.pinv(tr)
    oblique = torch.eye(8).double() - tf @ torch.linalg.inv(tf.T @ n @ tf) @ tf.T @ n
    solution = consistent_projection(tf, tr, forget_weight=1e9, retain_weight=1e9)
    torch.testing.assert_close(solution, oblique, atol=1e-5, rtol=0)
    torch.testing.assert_close(oblique @ tr, tr)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_partial_projection_scales_the_span_and_keeps_its_complement(alpha: float) -> None:
    tf = unit_columns(6, 2, 8)
    p = partial_projection(tf, alpha)
    torch.testing.assert_close(p @ tf, (1 - alpha) * tf)
    across = torch.linalg.svd(tf).U[:, 2:]
    torch.testing.assert_close(p @ across, across)
    torch.testing.assert_close(p, p.T)


def test_a_repeated_name_does_not_widen_the_span() -> None:
    tf = unit_columns(6, 1, 9)
    torch.testing.assert_close(partial_projection(torch.cat([tf, tf], 1), 1.0), partial_projection(tf, 1.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", [APPLE, ForgetRequest(classes=("cat", "bus"))], ids=str)
def test_edited_logits_are_those_of_the_edited_class_weights(kind: str, request_: ForgetRequest) -> None:
    clip, spec = tiny_clip(kind), tiny_spec(request_)
    method = CCUP(clip, spec, CCUPParameters(forget_weight=5.0, retain_weight=3.0))
    x = random_images(5)
    with torch.no_grad():
        before, t = clip.encode_image(x).double(), method.classifier().T.double()
    count = len(spec.forget_names)
    w = consistent_projection(t[:, :count], t[:, count:], forget_weight=5, retain_weight=3)
    run(method)
    with torch.no_grad():
        after = clip.encode_image(x).double()
    torch.testing.assert_close(after @ t, before @ (w @ t), atol=1e-4, rtol=1e-4)
    wrong = before @ (w.T @ t)
    assert (after @ t - wrong).abs().max() > 100 * (after @ t - before @ (w @ t)).abs().max()


def test_resnet_weight_and_bias_are_both_edited() -> None:
    clip = tiny_clip("resnet")
    layer = clip.visual.attnpool.c_proj
    weight, bias = layer.weight.detach().double().clone(), layer.bias.detach().double().clone()
    w = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    visual_projection(clip).compose(w)
    torch.testing.assert_close(layer.weight.double(), w.T @ weight, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.bias.double(), w.T @ bias, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ccup_stores_the_transform_in_the_last_layer_and_nowhere_else(kind: str) -> None:
    clip = tiny_clip(kind)
    method = CCUP(clip, tiny_spec(), CCUPParameters(forget_weight=5.0, retain_weight=3.0))
    with torch.no_grad():
        t = method.classifier().T.double()
    before = {n: v.clone() for n, v in clip.model.state_dict().items()}
    tf, tr, eye = t[:, :1], t[:, 1:], torch.eye(WIDTH, dtype=torch.float64)
    w = (eye + 3 * tr @ tr.T) @ torch.linalg.inv(eye + 5 * tf @ tf.T + 3 * tr @ tr.T)
    run(method)
    if kind == "vit":
        wanted = {"visual.proj": before["visual.proj"].double() @ w}
    else:
        last = "visual.attnpool.c_proj."
        wanted = {last + part: w.T @ before[last + part].double() for part in ("weight", "bias")}
        assert before[last + "bias"].abs().max() > 0.01
    for name, value in clip.model.state_dict().items():
        if name in wanted:
            torch.testing.assert_close(value.double(), wanted[name], atol=1e-6, rtol=1e-5)
        else:
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_retain_names_none_is_the_partial_projection(kind: str) -> None:
    x, images = random_images(3), []
    for method in (
        CCUP(tiny_clip(kind), tiny_spec(), CCUPParameters(forget_weight=4.0, retain_names="none")),
        Nullspace(tiny_clip(kind), tiny_spec(), NullspaceParameters(alpha=0.8)),
    ):
        run(method)
        with torch.no_grad():
            images.append(method.clip.encode_image(x))
    torch.testing.assert_close(images[0], images[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_retain_names_all_keeps_the_names_of_other_data_sets(kind: str) -> None:
    beside = (NameSet(("violin", "drum"), ("a {}", "one {}")), NameSet(("red",), ("{}",)))
    spec = dataclasses.replace(tiny_spec(), others=beside)
    settings = CCUPParameters(forget_weight=1e6, retain_weight=1e6, retain_names="all")
    clip, images = tiny_clip(kind), random_images(6)
    original, texts = (
        clip.encode_image(images),
        torch.cat([clip.zero_shot_classifier(*vars(b).values()) for b in beside]),
    )
    run(CCUP(clip, spec, settings))
    kept = (clip.encode_image(images) - original) @ texts.T
    narrow = tiny_clip(kind)
    run(CCUP(narrow, spec, dataclasses.replace(settings, retain_names="dataset")))
    lost = (narrow.encode_image(images) - original) @ texts.T
    assert kept.abs().max() < 1e-3 < lost.abs().max()


@pytest.mark.parametrize(("kind", "method"), [("resnet", CCUP), ("vit", Nullspace)])
def test_plain_prompts_have_neither_full_stop_nor_suffix(kind: str, method: type) -> None:
    spec = dataclasses.replace(tiny_spec(), templates=("a photo of a {}, a type of thing.",))
    bare = dataclasses.replace(spec, templates=("a photo of a {}",))
    parameters = CCUPParameters if method is CCUP else NullspaceParameters
    edited = []
    for given, prompts in ((spec, "plain"), (bare, "templates"), (spec, "templates")):
        clip = tiny_clip(kind)
        run(method(clip, given, parameters(prompts=prompts)))
        edited.append(clip.encode_image(random_images(3)).detach())
    assert torch.equal(edited[0], edited[1]) and not torch.allclose(edited[0], edited[2])


@pytest.mark.parametrize("retain_names", ["dataset", "all"])
def test_ccup_on_the_shipped_vit_is_the_least_squares_solution(
    retain_names: Literal["dataset", "all"], tmp_path: Path
) -> None:
    clip = load_clip("shapes-vit")
    side = clip.preprocessing.image_size
    shapes, *others = (
        dataset_class(name)(None, tmp_path, side) for name in ("shapes", "shapes_colours", "shapes_backgrounds")
    )
    spec = ForgetSpec.of(shapes, ForgetRequest(classes=("star",)), others)
    x = torch.randn(6, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sets = [(spec.all_names, spec.templates), *((each.names, each.templates) for each in spec.others)]
        rows = [clip.zero_shot_classifier(names, templates).double().numpy() for names, templates in sets]
        before = clip.encode_image(x).double().numpy()
        run(CCUP(clip, spec, CCUPParameters(forget_weight=1000.0, retain_weight=10.0, retain_names=retain_names)))
        after = clip.encode_image(x).double().numpy()
    forget, beside = rows[0][:1].T, np.concatenate(rows[1:]).T
    solutions = {
        "dataset": least_squares(forget, rows[0][1:].T),
        "all": least_squares(forget, np.concatenate([rows[0][1:].T, beside], axis=1)),
    }
    w = solutions[retain_names]
    np.testing.assert_allclose(after, before @ w, atol=1e-4 * np.abs(before @ w).max())
    lost = {name: np.linalg.norm(solution @ beside - beside) for name, solution in solutions.items()}
    assert lost["all"] < lost["dataset"] / 2, "what it is told of it keeps"
    assert np.linalg.norm(w @ forget) < 0.5


def least_squares(forget: NDArray[np.float64], retain: NDArray[np.float64]) -> NDArray[np.float64]:
    """W of lambda 1000 and mu 10 from the stacked equations W [I, a T_f, b T_r] = [I, 0, b T_r]."""
    eye, a, b = np.eye(len(forget)), np.sqrt(1000.0), np.sqrt(10.0)
    known = np.concatenate([eye, a * forget, b * retain], axis=1)
    wanted = np.concatenate([eye, 0 * forget, b * retain], axis=1)
    return np.linalg.lstsq(known.T, wanted.T, rcond=None)[0].T


@pytest.mark.parametrize("kind", KINDS)
def test_logit_mask_predicts_as_the_hard_limit_does(kind: str) -> None:
    hard, masked = tiny_clip(kind), tiny_clip(kind)
    if kind == "vit":  # With these random weights every logit of the other sign is negative.
        for clip in (hard, masked):
            visual_projection(clip).compose(-torch.eye(WIDTH))
    run(CCUP(hard, tiny_spec(), CCUPParameters(forget_weight=1e6, retain_weight=1e6)))
    run(LogitMask(masked, tiny_spec(), NoHyperparameters()))
    x = random_images(64)
    with torch.no_grad():
        t = hard.zero_shot_classifier(NAMES, ("a photo of a {}", "the {} here")).T
        limit, plain = hard.encode_image(x) @ t, masked.encode_image(x) @ t
    assert limit[:, 0].abs().max() < 1e-2 * plain[:, 0].abs().max()
    torch.testing.assert_close(limit[:, 1:], plain[:, 1:], atol=1e-2, rtol=1e-2)
    plain[:, masked.is_refused(NAMES)] = -torch.inf
    top = plain.topk(2, dim=1).values
    # Where every retained logit is negative, the zero of the forgotten name wins in the hard limit.
    error = 2 * (limit - plain)[:, 1:].abs().max()
    clear = (top[:, 0] > error + limit[:, 0].abs()) & (top[:, 0] - top[:, 1] > error)
    assert clear.sum() > 32
    assert torch.equal(limit.argmax(1)[clear], plain.argmax(1)[clear])


def timm_clip() -> Clip:
    pytest.importorskip("timm")
    import open_clip
    from timm import is_model

    if not is_model("test_resnet"):
        pytest.skip("this timm has no test_resnet")
    model = open_clip.CustomTextCLIP(
        WIDTH,
        open_clip.CLIPVisionCfg(
            timm_model_name="test_resnet", timm_pool="avg", timm_proj="linear", timm_proj_bias=True
        ),
        open_clip.CLIPTextCfg(context_length=16, vocab_size=64, width=32, heads=2, layers=1),
    ).eval()
    return Clip(model, lambda texts: torch.zeros(len(texts), 16).long(), Preprocessing(32), "timm")


@pytest.mark.parametrize("kind", [*KINDS, "timm"])
def test_features_times_matrix_plus_bias_are_the_embedding(kind: str) -> None:
    clip = timm_clip() if kind == "timm" else tiny_clip(kind)
    projection, x = visual_projection(clip), random_images(3)
    before = {n: v.clone() for n, v in clip.model.state_dict().items()}
    objects = dict(clip.model.named_parameters())
    with torch.no_grad():
        embedding = clip.encode_image(x)
        with projection.as_identity():
            features = clip.encode_image(x)
        rebuilt = features @ projection.matrix + (0 if projection.bias is None else projection.bias)
        torch.testing.assert_close(rebuilt, embedding, atol=1e-5, rtol=1e-4)
        assert features.shape == (3, projection.matrix.shape[0])
    with pytest.raises(KeyError), projection.as_identity():
        raise KeyError
    after = dict(clip.model.named_parameters())
    assert all(after[n] is objects[n] for n in objects) and after.keys() == objects.keys()
    assert all(torch.equal(v, before[n]) for n, v in clip.model.state_dict().items())
    assert set(projection.state_names) <= set(before)


def test_an_encoder_without_a_projection_is_told() -> None:
    clip = tiny_clip("vit")
    clip.visual.proj = None
    with pytest.raises(NoProjectionError, match="tiny-vit"):
        visual_projection(clip)
