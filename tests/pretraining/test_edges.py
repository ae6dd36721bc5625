"""Edge histograms of images whose edges are known, and the task that a ViT's first blocks learn from them."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import ARCHITECTURES, SIDE, random_images

from benchmark.pretraining.edges import DIRECTIONS, EdgeTask, edge_energy, edge_histograms


def histograms(images: torch.Tensor, cell: int) -> torch.Tensor:
    return edge_histograms(edge_energy(images), cell)


def step_edge(angle: float, *, contrast: float = 1.0) -> torch.Tensor:
    """A step edge through the middle whose gradient points along `angle`; shape (1, 3, 16, 16)."""
    rows, columns = torch.meshgrid(torch.arange(16.0) - 7.5, torch.arange(16.0) - 7.5, indexing="ij")
    side = torch.sigmoid(columns * math.cos(angle) + rows * math.sin(angle))  # smooth, so that all directions exist
    return (contrast * side).expand(1, 3, 16, 16)


@pytest.mark.parametrize("bin_", range(DIRECTIONS))
def test_an_edge_falls_into_the_bin_of_its_axis(bin_: int) -> None:
    found = histograms(step_edge(bin_ * math.pi / DIRECTIONS), 16)
    assert found.shape == (1, DIRECTIONS, 1, 1)
    assert int(found[0, :, 0, 0].argmax()) == bin_


def test_light_on_dark_is_dark_on_light_and_contrast_hardly_counts() -> None:
    one = histograms(step_edge(0.4), 16)
    assert torch.allclose(one, histograms(step_edge(0.4 + math.pi), 16), atol=0.05)
    assert torch.allclose(one, histograms(-step_edge(0.4), 16), atol=1e-6)
    assert torch.allclose(one, histograms(step_edge(0.4, contrast=3.0), 16), atol=0.3)
    assert 0.5 < one.norm() <= 1.0


def test_a_plain_image_has_no_edges_and_one_colour_is_enough() -> None:
    assert histograms(torch.full((1, 3, 16, 16), 0.7), 4).abs().max() == 0
    red = step_edge(0.0).clone()
    red[:, 1:] = 0.3
    assert torch.equal(histograms(red, 4), histograms(step_edge(0.0), 4))


def test_cells_are_where_the_edges_are() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 12:] = 1.0  # a vertical edge between columns 11 and 12
    found = histograms(image, 4)[0].sum(0)
    assert found.shape == (4, 4) and (found[:, 2:] > 0.3).all() and (found[:, :2] == 0).all()


def test_targets_belong_to_their_patches_and_are_standardised() -> None:
    task = EdgeTask(ARCHITECTURES["vit"].build(vocabulary=8).visual)
    images = random_images(4)
    half, quarter, around = task.targets(images)
    patches = (SIDE // 8) ** 2
    assert [tuple(t.shape) for t in (half, quarter, around)] == [(4, patches, 8 * n) for n in (4, 16, 9)]
    for target in (half, quarter, around):
        assert target.flatten(0, 1).mean(0).abs().max() < 1e-4
        assert target.flatten(0, 1).std(0).sub(1).abs().max() < 1e-2
    changed = images.clone()
    changed[:, :, 8:16, 0:8] = 0.0  # the patch in row 1, column 0
    edges = histograms(images, 4) != histograms(changed, 4)
    rows = {int(i) // 2 * (SIDE // 8) + int(j) // 2 for _, _, i, j in edges.nonzero().tolist()}
    assert SIDE // 8 in rows and rows <= {0, 1, SIDE // 8, SIDE // 8 + 1, 2 * (SIDE // 8), 2 * (SIDE // 8) + 1}


def test_the_task_is_learned_and_lets_go_of_the_tower() -> None:
    torch.manual_seed(0)
    visual = ARCHITECTURES["vit"].build(vocabulary=8).visual
    task, images = EdgeTask(visual), random_images(8)
    optimizer = torch.optim.AdamW([*visual.parameters(), *task.parameters()], lr=1e-2)
    losses = []
    for _ in range(40):
        visual(images)
        loss = task.loss(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 2.5 and losses[-1] < 0.6 * losses[0]
    task.detach()
    assert all(not module._forward_hooks for module in visual.modules())


def test_other_towers_are_refused() -> None:
    with pytest.raises(ValueError, match="vision transformer"):
        EdgeTask(ARCHITECTURES["resnet"].build(vocabulary=8).visual)
