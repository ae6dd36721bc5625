"""SVD class forgetting against NumPy's decomposition, its limits, and every edited map of both encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import APPLE, TinyDataset, tiny_clip

from benchmark.unlearning.unlearn import Unlearned, unlearn
from methods.common.layer_inputs import linear_maps, show_inputs
from methods.svd_forgetting import Hyperparameters, SVDForgetting, forgetting_projection, importance

Array = NDArray[np.float64]


def reference(rows: Array, alpha: float) -> Array:
    """M from the singular value decomposition of the inputs themselves."""
    u, s, _ = np.linalg.svd(rows.T, full_matrices=False)
    share = s**2 / (s**2).sum()
    return u @ np.diag(alpha * share / ((alpha - 1) * share + 1)) @ u.T


@pytest.mark.parametrize("alpha", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("count", [3, 40])
def test_importance_is_that_of_the_decomposition_of_the_inputs(alpha: float, count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 7)) * np.arange(1, 8)
    found = importance(torch.from_numpy(rows.T @ rows), alpha).numpy()
    np.testing.assert_allclose(found, reference(rows, alpha), atol=1e-10)
    values = np.linalg.eigvalsh(found)
    assert values.min() > -1e-12 and values.max() <= 1 + 1e-12
    if alpha == 1.0:
        assert np.trace(found) == pytest.approx(1.0)


def test_importance_of_no_input_at_all_is_nothing() -> None:
    assert torch.equal(importance(torch.zeros(3, 3), 10.0), torch.zeros(3, 3).double())


def test_only_what_retain_does_not_need_is_taken_away() -> None:
    axes = torch.eye(4).double()
    forget, retain = importance(axes[:, :2] @ axes[:2], 1e12), importance(axes[:, 1:3] @ axes[1:3], 1e12)
    seen = forgetting_projection(forget, retain).T  # W P^T x: what a map sees instead of x
    torch.testing.assert_close(seen, torch.diag(torch.tensor([0.0, 1.0, 1.0, 1.0]).double()), atol=1e-9, rtol=0)


def test_the_projection_keeps_the_order_of_its_factors() -> None:
    generator = torch.Generator().manual_seed(0)
    forget, retain = (importance(r.T @ r, 5.0) for r in torch.randn(2, 6, 4, generator=generator).double())
    found = forgetting_projection(forget, retain)
    torch.testing.assert_close(found, torch.eye(4).double() - forget + forget @ retain)
    assert (found - found.T).abs().max() > 1e-3


def run(kind: str, folder: Path, settings: Hyperparameters) -> tuple[TinyDataset, Unlearned]:
    dataset = TinyDataset()
    result = unlearn(SVDForgetting, settings, tiny_clip(kind), dataset, APPLE, cache_dir=folder, seed=0)
    return dataset, result


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_every_map_is_followed_by_its_projection(kind: str, tmp_path: Path) -> None:
    settings = Hyperparameters(batch_size=6, max_steps=3, retain_alpha=20.0, forget_alpha=5.0, inputs=10**6)
    dataset, result = run(kind, tmp_path, settings)
    original, labels = tiny_clip(kind), np.arange(24) % 4
    images = original.preprocessing(dataset.split("train").images.read(range(24)))
    rows: dict[tuple[str, str], Array] = {}
    for part, mask in (("forget", labels == 0), ("retain", labels != 0)):
        show_inputs(original, images[mask], lambda name, x, p=part: rows.update({(p, name): x.double().numpy()}))
    edited = linear_maps(result.clip)
    for name, linear in linear_maps(original).items():
        forget, retain = reference(rows["forget", name], 5.0), reference(rows["retain", name], 20.0)
        p = np.eye(len(forget)) - (forget - forget @ retain)
        before, after = linear.weight.detach().double().numpy(), edited[name].weight.detach().double().numpy()
        if linear.transposed:
            before, after = before.T, after.T
        before, after = before.reshape(len(before), -1), after.reshape(len(after), -1)
        np.testing.assert_allclose(after, before @ p.T, atol=1e-4 * np.abs(before).max(), err_msg=name)
    assert set(result.edited) == set(edited)
    assert result.report == {"images_seen": {"forget": 6, "retain": 18}, "maps": len(edited)}


def test_a_bound_on_the_inputs_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    method = SVDForgetting.edit

    def edit(self: SVDForgetting) -> None:
        # A row of the patch embedding's inputs is never zero, so the moments' rank tells how many were used.
        counts.extend(int(torch.linalg.matrix_rank(m["visual.conv1.weight"])) for m in self.moments.values())
        method(self)

    monkeypatch.setattr(SVDForgetting, "edit", edit)
    run("vit", tmp_path, Hyperparameters(batch_size=6, max_steps=3, inputs=9))
    assert counts == [3, 9]  # three a batch; all six forget images come with the first batch
