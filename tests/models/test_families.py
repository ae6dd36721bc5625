"""Every method on every family of open_clip's CLIPs, on small random weights: it works, or `plan` says why not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import open_clip
import pytest
import torch
import torch.nn.functional as F
from families import CONFIGS, family_clip, table
from tiny import APPLE, TinyDataset, random_images, tiny_clip
from torch import Tensor
from world import ROOT

from benchmark.records.cell import Cell
from benchmark.suites.told_before import not_applicable
from datamodules.common import synthetic
from datamodules.common.errors import BenchmarkError
from datamodules.common.module import UnlearningDataModule
from methods.common.base import UnlearningMethod
from methods.common.card import resolve
from methods.common.clip import Clip, changed_tensors, sigmoid_loss
from methods.common.needs import why_not
from methods.common.projections import NoProjectionError, text_projection, visual_projection
from methods.common.registry import Registry
from methods.ssd import loss_among

REGISTRY = Registry()
METHODS = [name for name in REGISTRY.names() if REGISTRY.declaration(name).card.regime != "pretraining"]
QUICK = {
    **{"batch_size": 4, "max_steps": 1, "iterations": 1, "images": 1, "draws": 1, "threshold": 0.0, "tries": 1},
    **{
        "search_steps": 1,
        "gradient_batches": 1,
        "held_out_batches": 1,
        "population": 4,
        "shots": 1,
        "saliency_steps": 1,
        "scaling": 0.5,
    },
}
"""`scaling`: chosen on held-out images it would be 0, since a CLIP with random weights has nothing to forget."""
QUICK_OF = {"lip": {"max_steps": 3, "images": 2, "draws": 2, "learning_rate": 3e-3}}
"""It takes back a step after which as many of its images are named as before."""
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def one_step(name: str, clip: Clip, cache_dir: Path) -> UnlearningMethod[Any]:
    """A method after one step, or its edit."""
    declaration = REGISTRY.declaration(name)
    data = UnlearningDataModule(
        TinyDataset(cache_dir=cache_dir),
        APPLE,
        regime=declaration.card.regime,
        preprocessing=clip.preprocessing,
        cache_dir=cache_dir,
    )
    wanted = {**QUICK, **QUICK_OF.get(name, {})}
    quick = {key: value for key, value in wanted.items() if key in declaration.hyperparameters.__dataclass_fields__}
    L.seed_everything(0, verbose=False)
    method = REGISTRY.method_class(name)(clip, data.spec, resolve(declaration.hyperparameters, "small", quick))
    data.plan(steps=min(3, method.planned_steps(data.sizes)), batch_size=method.batch_size())
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(synthetic, "_accepted", lambda model, target, x, threshold: x.new_ones(len(x)).bool())
        warnings.simplefilter("ignore")
        L.Trainer(accelerator="cpu", max_epochs=1, **QUIET).fit(method, datamodule=data)
    return method


@pytest.mark.parametrize("family", CONFIGS)
def test_every_method_works_on_a_family_or_says_why_not(family: str, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in family_clip(family).model.state_dict().items()}
    for name in METHODS:
        clip, card = family_clip(family), REGISTRY.declaration(name).card
        if why_not(card, clip):
            with pytest.raises(BenchmarkError):
                one_step(name, clip, tmp_path)
            continue
        method = one_step(name, clip, tmp_path)
        changed = changed_tensors(before, clip.model.state_dict().items())
        assert bool(changed) == (card.edits != ("nothing",)), name
        assert all(method.may_edit(entry) for entry in changed), name
        assert all(torch.isfinite(value).all() for value in changed.values()), name


def test_the_page_has_the_matrix_as_it_is() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert table() in page, "put the output of `python tests/models/families.py` into docs/models.md"


@pytest.mark.parametrize("family", CONFIGS)
def test_the_features_before_a_projection_make_the_embeddings(family: str) -> None:
    clip, images, texts = family_clip(family), random_images(3), ["a photo of a cat", "bus"]
    for find, encode in (
        (visual_projection, lambda: clip.encode_image(images)),
        (text_projection, lambda: clip.encode_text(texts)),
    ):
        try:
            projection = find(clip)
        except NoProjectionError:
            assert find is visual_projection and family == "SigLIP", "the only tower without one"
            continue
        with torch.no_grad():
            expected = encode()
            with projection.as_identity():
                features = encode()
            bias = 0 if projection.bias is None else projection.bias
            assert torch.allclose(features @ projection.matrix + bias, expected, atol=1e-5)
        assert set(projection.state_names) <= set(clip.model.state_dict())


def cell(method: str, model: str) -> Cell:
    scale = "small" if model == "shapes-vit" else "published"
    return Cell("s", method, "shapes", APPLE, model, 0, {}, (), "fp32", "cpu", "", {}, "", scale)


def test_what_cannot_work_is_known_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "known-SigLIP.json"
    config = {"embed_dim": 16, **CONFIGS["SigLIP"], "text_cfg": {"context_length": 16, "vocab_size": 64, "width": 32}}
    path.write_text(json.dumps({**config, "text_cfg": {**config["text_cfg"], "heads": 2, "layers": 1}}))
    open_clip.add_model_config(path)
    model = f"known-SigLIP:{tmp_path / 'absent.pt'}"
    cells = [cell(method, name) for method in ("original", "ccup", "kl", "uce") for name in (model, "shapes-vit")]
    assert not_applicable(cells, REGISTRY) == {("ccup", model): "its image encoder does not end in a linear projection"}


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_model_with_a_bias_trains_with_the_sigmoid_loss() -> None:
    image, text, scale, bias = normal(5, 8, seed=0), normal(5, 8, seed=1), torch.tensor(7.0), torch.tensor(-3.0)
    theirs = open_clip.loss.SigLipLoss()
    unit = [F.normalize(rows, dim=-1) for rows in (image, text)]
    expected = theirs(*unit, scale, bias)
    assert torch.allclose(sigmoid_loss(3 * image, 2 * text, scale, bias), expected, atol=1e-5)
    siglip, plain = family_clip("SigLIP"), tiny_clip("vit")
    assert siglip.logit_bias is not None and plain.logit_bias is None
    loss = siglip.contrastive_loss(image, text)
    assert torch.allclose(loss, sigmoid_loss(image, text, siglip.logit_scale, siglip.logit_bias))


def test_images_of_one_text_are_pairs_with_it() -> None:
    image, text = normal(4, 8, seed=0), normal(2, 8, seed=1)[[0, 0, 1, 1]]
    scale, bias = torch.tensor(7.0), torch.tensor(-3.0)
    logits = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T + bias
    sign = torch.tensor([[1, 1, -1, -1], [1, 1, -1, -1], [-1, -1, 1, 1], [-1, -1, 1, 1]])
    assert torch.allclose(sigmoid_loss(image, text, scale, bias), -F.logsigmoid(sign * logits).sum() / 4, atol=1e-5)


def test_the_shares_of_pairs_make_the_sigmoid_loss() -> None:
    image, text, scale, bias = normal(4, 8, seed=0), normal(4, 8, seed=1), torch.tensor(5.0), torch.tensor(-2.0)
    rest = [[j for j in range(4) if j != i] for i in range(4)]
    shares = [loss_among(image[i : i + 1], text[i : i + 1], image[r], text[r], scale, bias) for i, r in enumerate(rest)]
    assert torch.allclose(torch.stack(shares).mean(), sigmoid_loss(image, text, scale, bias), atol=1e-5)
