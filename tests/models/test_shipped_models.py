"""The CLIPs of the embedded world that ship: small, and good enough that forgetting can be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.measures.membership import membership_attack, scaled_confidence
from benchmark.models.compact import load_compact
from benchmark.models.registry import WEIGHTS
from benchmark.pretraining.retrained import recipe_of
from datamodules.common.registry import open_dataset

MODELS = ("shapes-resnet", "shapes-small", "shapes-vit")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_named_and_captions_find_their_images(name: str, cache: Path) -> None:
    clip = load_compact(WEIGHTS / f"{name}.safetensors", name)
    dataset = open_dataset("shapes", None, cache, clip.preprocessing.image_size)
    split = dataset.split("test")
    assert split.labels is not None and split.captions is not None
    chunks = [range(k, min(k + 400, len(split.images))) for k in range(0, len(split.images), 400)]
    images = torch.cat([clip.encode_image(clip.preprocessing(split.images.read(chunk))) for chunk in chunks])
    images = F.normalize(images, dim=-1)
    rows = clip.zero_shot_classifier(dataset.class_names, dataset.templates)
    accuracy = ((images @ rows.T).argmax(1) == torch.from_numpy(split.labels)).float().mean()
    assert accuracy >= 0.95
    gallery, captions = images[:500], split.captions[:500]
    texts = F.normalize(clip.encode_text([caption for each in captions for caption in each]), dim=-1)
    own = torch.arange(500).repeat_interleave(torch.tensor([len(each) for each in captions]))
    similarity = texts @ gallery.T
    rank = (similarity > similarity.gather(1, own[:, None])).sum(1)
    assert (rank < 1).float().mean() >= 0.60


@torch.inference_mode()
def test_one_model_knows_its_few_images_by_heart(cache: Path) -> None:
    """What membership inference needs: images that were trained on can be told from others by confidence alone."""
    clip = load_compact(WEIGHTS / "few-shapes.safetensors", "few-shapes")
    dataset = open_dataset("few_shapes", None, cache, clip.preprocessing.image_size)
    store = EmbeddingStore(None)
    classifier = store.classifier(clip, dataset.class_names, dataset.templates)
    accuracy, confidence = [], []
    for part in ("train", "test"):
        labels = dataset.split(part).labels  # type: ignore[arg-type]
        logits = clip.logit_scale * store.images(clip, dataset, part) @ classifier.T  # type: ignore[arg-type]
        assert labels is not None
        accuracy.append(float((logits.argmax(1) == torch.from_numpy(labels)).float().mean()))
        confidence.append(scaled_confidence(logits, torch.from_numpy(labels)))
    assert accuracy[0] > 0.95 and 0.5 < accuracy[1] < 0.75
    assert membership_attack(*confidence).auc > 0.75


def test_they_are_small_and_know_their_recipes() -> None:
    assert sum((WEIGHTS / f"{name}.safetensors").stat().st_size for name in (*MODELS, "few-shapes")) <= 12e6
    for name in (*MODELS, "few-shapes"):
        recipe = recipe_of(name)
        assert recipe is not None and recipe.name == name
