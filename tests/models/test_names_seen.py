"""Names as a model reads them: made equal, cut off, never trained on; told before the run, refused where it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyDataset, tiny_clip
from torch import Tensor

from benchmark.models.compact import ClipTokenizer
from benchmark.models.loading import load_clip
from benchmark.models.names_seen import NamesError, Reader, check_names, reader_of, reader_of_clip, same_to

TEMPLATES = ("a photo of a {}", "the {} here")
LONG = "a very small and round and shiny utensil of thin steel for stirring soup or sauce in a big black pot on a stove"


def clip_reader(context: int = 24, trained: str | None = None) -> Reader:
    """CLIP's tokenizer; trained on the words of a text alone, if one is given."""
    tokenize = ClipTokenizer(context)
    ids = None if trained is None else frozenset(tokenize([trained]).flatten().tolist())
    return Reader("a-model", tokenize, ids)


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (("Ring", "ring"), "lowers case and joins spaces"),
        (("red  panda", "red panda"), "lowers case and joins spaces"),
        (("fish &amp; chips", "fish & chips"), "lowers case"),
        ((f"{LONG} ring", f"{LONG} star"), "differ only beyond the 24 tokens"),
    ],
)
def test_a_name_to_forget_that_is_one_to_keep_is_refused(pair: tuple[str, str], why: str) -> None:
    with pytest.raises(NamesError, match=why) as caught:
        check_names(clip_reader(), pair[:1], (pair[1], "hexagon"), TEMPLATES, "pets")
    assert "\n" not in str(caught.value) and "a-model" in str(caught.value)


def test_names_that_training_never_touched_are_one_name() -> None:
    reader = clip_reader(trained="a photo of a ring star the here")
    with pytest.raises(NamesError, match="was never trained on the words in which they differ"):
        check_names(reader, ("no",), ("off", "star"), TEMPLATES, "gestures")
    notes = check_names(reader, ("no",), ("ring", "star"), TEMPLATES, "gestures")
    assert len(notes) == 1 and "never trained on words of 1 of 3 names ('no', 'no' to be forgotten" in notes[0]


def test_names_to_keep_that_are_one_name_are_told() -> None:
    (note,) = check_names(clip_reader(), ("star",), ("Crane", "crane"), TEMPLATES, "birds")
    assert "'Crane', 'crane' are one name" in note
    assert check_names(clip_reader(), ("crane", "Crane"), ("star",), TEMPLATES, "birds"), "both forgotten: told alone"


def test_a_cut_name_that_is_still_its_own_is_told() -> None:
    (note,) = check_names(clip_reader(), (f"ring {LONG}",), (f"star {LONG}",), TEMPLATES, "tools")
    assert "reads 24 tokens" in note


def test_names_are_one_only_if_no_template_tells_them_apart() -> None:
    def tokenize(texts: list[str]) -> Tensor:
        return torch.tensor([[len(text) if text.startswith("the") else 0, 0] for text in texts])

    reader = Reader("a-model", tokenize)
    assert same_to(reader, ["cat", "horse", "dog"], TEMPLATES) == [["cat", "dog"]]
    assert same_to(reader, ["cat", "horse", "dog"], TEMPLATES[:1]) == [["cat", "horse", "dog"]]


def test_what_a_shipped_model_reads_is_found_without_its_weights() -> None:
    by_name, loaded = reader_of("shapes-resnet"), reader_of_clip(load_clip("shapes-resnet"))
    assert by_name is not None and by_name.trained == loaded.trained and len(loaded.trained or ()) == 174
    texts = ["a photo of a star", "étoile", "Red   PANDA " * 20]
    assert np.array_equal(by_name.ids(texts), loaded.ids(texts))
    assert check_names(by_name, ("star",), ("ring", "hexagon"), TEMPLATES, "shapes") == []


def test_a_published_model_knows_all_tokens_and_a_blip_is_not_looked_at() -> None:
    reader = reader_of("ViT-B-32/openai")
    assert reader is not None and reader.trained is None and reader.tokenize(["a dog"]).shape == (1, 77)
    assert reader_of("memory:mine") is None
    assert reader_of_clip(tiny_clip("vit")).trained is not None, "small: rows that are zero count as untrained"


def test_the_names_of_a_data_set_go_in_as_its_request_parts_them(tmp_path: Path) -> None:
    data, reader = TinyDataset(cache_dir=tmp_path), clip_reader()
    assert check_names(reader, data.class_names[:1], data.class_names[1:], data.templates, data.name) == []
