"""The zero-shot classifier against a loop over names and prompts, one prompt at a time."""

from __future__ import annotations

import pytest
import torch
from tiny import APPLE, NAMES, WIDTH, tiny_clip, tiny_spec
from torch import Tensor

from benchmark.evaluation.embeddings import EmbeddingStore
from datamodules.common.request import ForgetRequest
from methods.common.card import NoHyperparameters
from methods.common.clip import Clip
from methods.original import Original

KINDS = ("resnet", "vit")
TEMPLATES = ("a photo of a {}", "the {} here", "one small {} beside a door")


def plain_classifier(clip: Clip, names: tuple[str, ...], templates: tuple[str, ...]) -> Tensor:
    """Each prompt on its own: unit length, mean over the templates, unit length again."""
    rows = []
    for name in names:
        total = torch.zeros(WIDTH)
        for template in templates:
            embedded = clip.model.encode_text(clip.tokenize([template.replace("{}", name)]))[0]
            total = total + embedded / embedded.square().sum().sqrt()
        mean = total / len(templates)
        rows.append(mean / mean.square().sum().sqrt())
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3])
@torch.no_grad()
def test_it_equals_a_loop_over_prompts(kind: str, count: int) -> None:
    clip, templates = tiny_clip(kind), TEMPLATES[:count]
    wanted = plain_classifier(clip, NAMES, templates)
    torch.testing.assert_close(clip.zero_shot_classifier(NAMES, templates), wanted, atol=1e-5, rtol=0)
    stored = EmbeddingStore(None).classifier(clip, NAMES, templates)
    torch.testing.assert_close(stored, wanted, atol=1e-5, rtol=0)
    gaps = (wanted[:, None] - wanted[None]).norm(dim=-1) + 9 * torch.eye(len(NAMES))
    assert gaps.min() > 0.01, "names must differ for this to show anything"


@torch.no_grad()
def test_rows_follow_the_names_and_a_name_twice_gives_its_row_twice() -> None:
    clip = tiny_clip("vit")
    names = ("cat", "apple", "cat")
    torch.testing.assert_close(
        clip.zero_shot_classifier(names, TEMPLATES),
        clip.zero_shot_classifier(NAMES, TEMPLATES)[[2, 0, 2]],
        atol=1e-6,
        rtol=0,
    )


@torch.no_grad()
def test_it_is_that_of_the_text_encoder_as_it_is_now() -> None:
    clip = tiny_clip("vit")
    before = clip.zero_shot_classifier(NAMES, TEMPLATES)
    clip.model.text_projection.add_(0.1 * torch.randn(clip.model.text_projection.shape, generator=torch.manual_seed(0)))
    after = clip.zero_shot_classifier(NAMES, TEMPLATES)
    assert (after - before).norm(dim=1).min() > 0.01
    torch.testing.assert_close(after, plain_classifier(clip, NAMES, TEMPLATES), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("request_", "order"),
    [
        (APPLE, ("apple", "bus", "cat", "sunflower")),
        (ForgetRequest(classes=("cat",)), ("cat", "apple", "bus", "sunflower")),
    ],
    ids=str,
)
@torch.no_grad()
def test_a_methods_classifier_has_the_names_to_forget_first(request_: ForgetRequest, order: tuple[str, ...]) -> None:
    method = Original(tiny_clip("vit"), tiny_spec(request_), NoHyperparameters())
    wanted = plain_classifier(method.clip, order, ("a photo of a {}", "the {} here"))
    torch.testing.assert_close(method.classifier(), wanted, atol=1e-5, rtol=0)
