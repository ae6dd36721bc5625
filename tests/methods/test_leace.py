"""LEACE: probes at chance on what was fitted, the least change that gives it, and where its constant goes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import APPLE, TinyDataset, random_images, tiny_clip, tiny_spec
from torch import Tensor

from benchmark.unlearning.unlearn import Unlearned, unlearn
from datamodules.common.dataset import Dataset
from datamodules.common.module import Pairs
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip
from methods.leace import Hyperparameters, Leace, least_squares_eraser

Array = NDArray[np.float64]
TWO = ForgetRequest(classes=("cat", "bus"))


def labelled(count: int = 90, width: int = 5) -> tuple[Tensor, Tensor]:
    """Rows of three classes with different means and spreads, and their labels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    centres = 2 * torch.randn(3, width, generator=generator, dtype=torch.float64) + 1
    spread = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return centres[labels] + torch.randn(count, width, generator=generator, dtype=torch.float64) @ spread, labels


def probe_loss(rows: Tensor, labels: Tensor) -> float:
    """Cross-entropy of the logistic regression with a constant that fits best."""
    inputs = torch.cat([rows, torch.ones(len(rows), 1).double()], dim=1)
    weight = torch.zeros(inputs.shape[1], int(labels.max()) + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight, labels)
        loss.backward()
        return loss

    optimizer.step(objective)
    return objective().item()


@pytest.mark.parametrize("affine", [True, False])
def test_a_linear_probe_falls_to_chance_and_the_change_is_least(affine: bool) -> None:
    rows, labels = labelled()
    z = torch.nn.functional.one_hot(labels).double()[:, :2]  # the third class is what is retained
    mean = rows.mean(dim=0)
    cross = (rows - mean).T @ (z - z.mean(dim=0)) / len(rows)
    second = ((rows - mean).T @ (rows - mean) if affine else rows.T @ rows) / len(rows)
    eraser = least_squares_eraser(second, cross)
    chance = float(np.log(3))
    assert probe_loss(rows, labels) < chance - 0.1
    assert probe_loss(rows @ eraser.T, labels) == pytest.approx(chance, abs=1e-6)
    # Row by row: min (a - e_i)^T second (a - e_i) under cross^T a = 0, by its Karush-Kuhn-Tucker equations.
    system = torch.cat([torch.cat([second, cross], 1), torch.cat([cross.T, torch.zeros(2, 2).double()], 1)])
    wanted = torch.linalg.solve(system, torch.cat([second, torch.zeros(2, 5).double()]))[:5].T
    torch.testing.assert_close(eraser, wanted)


def test_directions_without_data_are_left_alone() -> None:
    rows, labels = labelled(width=4)
    rows = torch.cat([rows, torch.zeros(len(rows), 2).double()], dim=1)
    cross = torch.cov(torch.cat([rows, (labels == 0).double()[:, None]], 1).T)[:-1, -1:]
    eraser = least_squares_eraser(torch.cov(rows.T), cross)
    torch.testing.assert_close(eraser[4:, 4:], torch.eye(2).double())
    torch.testing.assert_close(eraser @ cross, torch.zeros(6, 1).double(), atol=1e-10, rtol=0)


def test_nothing_to_erase_changes_nothing() -> None:
    rows, _ = labelled()
    eraser = least_squares_eraser(torch.cov(rows.T), torch.zeros(5, 1).double())
    torch.testing.assert_close(eraser, torch.eye(5).double())


def run(clip: Clip, request: ForgetRequest, folder: Path, dataset: Dataset, *, batch_size: int = 24) -> Unlearned:
    settings = Hyperparameters(batch_size=batch_size, max_steps=2)
    return unlearn(Leace, settings, clip, dataset, request, cache_dir=folder, seed=0)


def embeddings(clip: Clip, dataset: Dataset) -> Array:
    with torch.no_grad():
        images = clip.preprocessing(dataset.split("train").images.read(range(24)))
        return clip.encode_image(images).double().numpy()


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("request_", [APPLE, TWO], ids=str)
def test_class_means_of_the_train_images_become_one(kind: str, request_: ForgetRequest, tmp_path: Path) -> None:
    clip, dataset = tiny_clip(kind), TinyDataset()
    before, labels = embeddings(clip, dataset), np.arange(24) % 4
    forgotten = [dataset.class_names.index(name) for name in request_.classes]
    result = run(clip, request_, tmp_path, dataset)
    after = embeddings(clip, dataset)
    classes = [labels == label for label in forgotten] + [~np.isin(labels, forgotten)]

    def spread(rows: Array) -> float:
        return float(max(np.linalg.norm(rows[mask].mean(0) - rows.mean(0)) for mask in classes))

    assert spread(after) < 1e-2 * spread(before)
    assert result.report["images_seen"] == {"forget": 6 * len(forgotten), "retain": 24 - 6 * len(forgotten)}
    if kind == "resnet":  # its projection has a bias, so the mean of all images stays
        np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-2 * spread(before))


def test_parts_weigh_as_in_the_train_split_however_many_images_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leace, "data", SimpleNamespace(sizes={"forget": 6, "retain": 18}))
    clip = tiny_clip("resnet")
    method = Leace(clip, tiny_spec(), Hyperparameters())
    parts = {"forget": random_images(4, seed=1), "retain": random_images(3, seed=2)}

    def mean(forget_share: float) -> Tensor:
        forget, retain = (clip.encode_image(images).double().mean(dim=0) for images in parts.values())
        return forget_share * forget + (1 - forget_share) * retain

    with torch.no_grad():
        kept, moved = mean(6 / 24), mean(4 / 7)
        for part, images in parts.items():
            method.gather(part, Pairs(images=images, texts=[], labels=torch.zeros(len(images)), indices=torch.empty(0)))
        method.edit()
        apart = (kept - moved).norm()
        assert (mean(6 / 24) - kept).norm() < 1e-2 * apart  # r(v) = v at the mean that it was fitted with
        assert (mean(4 / 7) - kept).norm() < 1e-2 * apart  # and every other mixture of the classes comes there too


def test_a_concept_is_one_class(tmp_path: Path) -> None:
    clip, dataset = tiny_clip("vit"), TinyDataset(captions=True, cache_dir=tmp_path)
    run(clip, ForgetRequest(concept="apple"), tmp_path, dataset)
    after, forget = embeddings(clip, dataset), np.arange(24) % 4 == 0
    assert np.linalg.norm(after[forget].mean(0) - after[~forget].mean(0)) < 1e-4 * np.linalg.norm(after)
