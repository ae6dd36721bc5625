"""The embedded world: its images are repeatable and told apart, its captions keep their rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import open_clip
import pytest

from datamodules.common.cache import save_array
from datamodules.common.errors import UnknownNameError
from datamodules.common.registry import dataset_cards, open_dataset
from datamodules.common.request import ForgetRequest, mentions
from datamodules.shapes import Shapes
from datamodules.shapes_world.captions import FILLINGS, FULL_PATTERNS, LOOSE_PATTERNS, write_captions
from datamodules.shapes_world.drawing import RADII, _distances, draw
from datamodules.shapes_world.vocabulary import IMAGE_SIZE, SYNONYMS, TEMPLATES, VOCABULARY, Scenes, sample_scenes

NAMES = ("shapes", "shapes_colours", "shapes_textures", "shapes_backgrounds")
CANONICAL = {word: attribute for attribute, words in VOCABULARY.items() for word in words}


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return sample_scenes("test", 300)


@pytest.fixture(scope="module")
def small_shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    class Small(Shapes):
        counts = {"train": 120, "val": 48, "test": 240}  # noqa: RUF012

    return Small(None, tmp_path_factory.mktemp("cache"), 64)


def test_same_key_same_bytes_other_key_other_bytes(scenes: Scenes) -> None:
    first = draw(scenes[:60], "a")
    assert np.array_equal(first, draw(scenes[:60], "a"))
    assert not np.array_equal(first, draw(scenes[:60], "b"))
    again = sample_scenes("test", 300)
    assert all(np.array_equal(scenes.values(name), again.values(name)) for name in VOCABULARY)
    assert not np.array_equal(scenes.shape, sample_scenes("other", 480).shape)
    texts = write_captions(scenes, "a", short_forms=True)
    assert texts == write_captions(scenes, "a", short_forms=True)
    assert texts != write_captions(scenes, "b", short_forms=True)


def test_a_block_does_not_depend_on_what_follows_it(scenes: Scenes) -> None:
    assert np.array_equal(draw(scenes[:250], "a"), draw(scenes[:300], "a")[:250])


@pytest.mark.parametrize("attribute", list(VOCABULARY))
def test_every_attribute_is_balanced(scenes: Scenes, attribute: str) -> None:
    values = scenes.values(attribute)  # type: ignore[arg-type]
    counts = np.bincount(values, minlength=len(VOCABULARY[attribute]))  # type: ignore[index]
    assert counts.max() - counts.min() <= 1


def test_attributes_are_independent() -> None:
    scenes = sample_scenes("many", 16_000)
    table = np.zeros((24, 8))
    np.add.at(table, (scenes.shape, scenes.colour), 1)
    assert abs(table - 16_000 / 192).max() < 45  # five standard deviations


@pytest.mark.parametrize("radius", RADII)
def test_shapes_differ(radius: float) -> None:
    count = len(VOCABULARY["shape"])
    middle, size, still = (np.full(count, value, dtype=np.float32) for value in (IMAGE_SIZE / 2, radius, 0.0))
    distance, _, _ = _distances(np.arange(count), middle, middle, size, still)
    masks = np.clip(0.5 - distance, 0, 1).reshape(count, -1)  # the coverage of each shape, upright in the centre
    area = masks.sum(-1)
    difference = np.abs(masks[:, None] - masks[None]).sum(-1) / np.maximum(area[:, None], area)
    np.fill_diagonal(difference, 1)
    nearest = np.unravel_index(difference.argmin(), difference.shape)
    assert difference.min() > 0.10, [VOCABULARY["shape"][i] for i in nearest]


def test_shapes_stay_inside_the_frame() -> None:
    count = 24 * 5 * 3
    index = np.arange(count)
    zero = np.zeros(count, dtype=np.int64)  # red, solid, on white
    images = draw(Scenes(index % 24, zero, zero, index // 24 % 3, index // 72, zero), "frame").astype(int)
    edge = np.concatenate([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], axis=-1)
    assert edge.min() > 215
    coloured = (images[:, 0] - images[:, 1] > 60).sum(axis=(1, 2))
    assert coloured.min() > 80
    columns = np.arange(64)
    centre = ((images[:, 0] - images[:, 1] > 60).sum(axis=1) * columns).sum(-1) / coloured
    left = np.isin(index // 72, [n for n, name in enumerate(VOCABULARY["position"]) if "left" in name])
    right = np.isin(index // 72, [n for n, name in enumerate(VOCABULARY["position"]) if "right" in name])
    assert centre[left].max() < 32 < centre[right].min()


def test_no_canonical_word_is_part_of_another_name() -> None:
    assert len(SYNONYMS) == len(CANONICAL) == sum(len(words) for words in VOCABULARY.values())
    spellings = [(word, text) for word, others in SYNONYMS.items() for text in (word, *others)]
    spellings += list(FILLINGS.items())
    assert len({text for _, text in spellings}) == len(spellings)
    for owner, text in spellings:
        found = [word for word in CANONICAL if re.search(rf"\b{word}\b", text)]
        assert set(found) <= {owner}, (owner, text)


def test_patterns_name_no_attribute_themselves_and_omit_at_most_one() -> None:
    assert len(FULL_PATTERNS + LOOSE_PATTERNS) >= 10
    for pattern in FULL_PATTERNS + LOOSE_PATTERNS:
        slots = {slot.replace("filling", "texture") for slot in re.findall(r"{(\w+)}", pattern)}
        assert len(slots) >= (6 if pattern in FULL_PATTERNS else 5), pattern
        bare = re.sub(r"{\w+}", "", pattern)
        assert not mentions([bare], tuple(CANONICAL))[0], pattern


@pytest.mark.parametrize("short_forms", [False, True])
def test_captions_say_what_is_there_and_nothing_else(scenes: Scenes, short_forms: bool) -> None:
    captions = write_captions(scenes, "rules", short_forms=short_forms)
    for index, texts in enumerate(captions):
        words = scenes.words(index)
        assert len(set(texts)) == 5
        full = [all(re.search(rf"\b{word}\b", text) for word in words.values()) for text in texts]
        assert full[0] and sum(full) >= 2
        for text in texts[: 4 if short_forms else 5]:
            spellings = [(word, *SYNONYMS[word], FILLINGS.get(word, word)) for word in words.values()]
            assert sum(bool(mentions([text], each)[0]) for each in spellings) >= 5, text
        for word, attribute in CANONICAL.items():
            if words[attribute] != word:
                assert not mentions(texts, ForgetRequest(concept=word).words).any(), (word, texts)
    starts = np.mean([t.startswith(("a photo of", "a picture of")) for texts in captions for t in texts])
    assert 0.1 < starts < 0.4


def test_captions_fit_the_context() -> None:
    tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def longest(texts: Iterable[str]) -> str:
        return max(texts, key=lambda text: len(tokenizer.encode(text)))

    worst = {
        attribute: longest(text for word in words for text in (word, *SYNONYMS[word]))
        for attribute, words in VOCABULARY.items()
    }
    filling = longest(FILLINGS.values())
    for pattern in FULL_PATTERNS + LOOSE_PATTERNS:
        text = pattern.format(**worst, filling=filling)
        assert len(tokenizer.encode(text)) + 2 <= 24, text


def test_training_captions_teach_the_templates() -> None:
    captions = write_captions(sample_scenes("t", 1200), "t", short_forms=True)
    last = {texts[-1] for texts in captions}
    for template in TEMPLATES["shape"]:
        assert {template.format(name) for name in VOCABULARY["shape"]} <= last


@pytest.mark.parametrize("name", NAMES)
def test_registered_and_repeatable(name: str, tmp_path: Path) -> None:
    assert dataset_cards()[name].source == "generated"
    dataset = open_dataset(name, None, tmp_path, 64)
    assert dataset.revision.startswith("shapes-")
    assert all(template.count("{}") == 1 for template in dataset.templates)
    assert len(set(dataset.class_names)) == len(dataset.class_names) > 1


def test_cached_images_are_read_back(tmp_path: Path) -> None:
    first = open_dataset("shapes_colours", None, tmp_path, 64).split("test")
    assert len(first.images) == 600 and first.captions is None
    (file,) = (tmp_path / "images").glob("*.npy")
    pixels = np.load(file)
    pixels[0] = 7
    save_array(file, pixels)
    again = open_dataset("shapes_colours", None, tmp_path, 64).split("test")
    assert (again.images.read([0]) == 7).all()
    assert (again.images.read([1]) == first.images.read([1])).all()


def test_forget_masks_by_class_and_concept(small_shapes: Shapes) -> None:
    split = small_shapes.split("test")
    mask = small_shapes.forget_mask(split, ForgetRequest(classes=("ring",)))
    assert mask.sum() == 10
    assert np.array_equal(mask, split.labels == small_shapes.label_of["ring"])
    scenes = sample_scenes("shapes/test", 240)
    for word in small_shapes.concept_names:
        attribute = CANONICAL[word]
        expected = scenes.values(attribute) == VOCABULARY[attribute].index(word)
        assert np.array_equal(small_shapes.forget_mask(split, ForgetRequest(concept=word)), expected), word
    with pytest.raises(UnknownNameError):
        small_shapes.forget_mask(split, ForgetRequest(classes=("rng",)))
