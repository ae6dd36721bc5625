"""A token embedding without its empty rows: the same texts, steps and weights, on a fraction of the rows."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from double import in_double
from tiny import APPLE, NAMES, VOCABULARY, TinyDataset, tiny_clip, words_tokenizer
from torch import Tensor, nn

from benchmark.unlearning import unlearn as unlearning
from methods.common.card import resolve
from methods.common.clip import Clip
from methods.common.registry import Registry
from methods.common.token_rows import UsedRows, used_token_rows, whole_state

REGISTRY = Registry()
TEXTS = [f"a photo of a {name}" for name in NAMES] + [f"the {name} here" for name in NAMES]
KNOWN = torch.unique(words_tokenizer([*TEXTS, "a an the"]))
UNSEEN = "a zebra of a kind"


def partly_trained(kind: str = "vit") -> Clip:
    """A CLIP whose training saw the words of `TEXTS` alone."""
    clip = tiny_clip(kind)
    rows = clip.model.token_embedding.weight.data  # type: ignore[union-attr]
    seen = torch.zeros(VOCABULARY, dtype=torch.bool)
    seen[KNOWN] = True
    rows[~seen] = 0
    return clip


def test_every_text_has_the_embedding_that_it_had() -> None:
    clip = partly_trained()
    with torch.no_grad():
        before = clip.encode_text([*TEXTS, UNSEEN])
        with used_token_rows(clip):
            rows = clip.model.token_embedding.weight  # type: ignore[union-attr]
            assert len(rows) == 1 + len(KNOWN) and clip.encode_text([*TEXTS, UNSEEN]).equal(before)
            rows += torch.randn(rows.shape, generator=torch.Generator().manual_seed(3))  # the shared row as well
            edited = clip.encode_text([*TEXTS, UNSEEN])
            inside = whole_state(clip.model)
        assert not torch.allclose(edited, before) and clip.encode_text([*TEXTS, UNSEEN]).equal(edited)
    outside = clip.model.state_dict()
    assert inside.keys() == outside.keys() and all(value.equal(outside[name]) for name, value in inside.items())
    assert clip.tokenize is words_tokenizer and type(clip.model.token_embedding) is nn.Embedding


def test_an_error_leaves_the_model_whole() -> None:
    clip = partly_trained()
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    embedding = clip.model.token_embedding
    with pytest.raises(ZeroDivisionError), used_token_rows(clip):
        1 / 0  # noqa: B018
    assert clip.model.token_embedding is embedding
    assert all(value.equal(before[name]) for name, value in clip.model.state_dict().items())


def test_nothing_is_drawn_and_a_model_in_use_is_left_alone() -> None:
    state = torch.get_rng_state()
    with used_token_rows(partly_trained()):
        assert torch.get_rng_state().equal(state)
    full = tiny_clip("vit")
    with used_token_rows(full):
        assert type(full.model.token_embedding) is nn.Embedding
    unread = partly_trained()
    unread.model.token_embedding.weight.data[-1] = 0  # type: ignore[union-attr]
    with used_token_rows(unread):  # without a row of its own the end token would not keep the highest id
        assert type(unread.model.token_embedding) is nn.Embedding


@pytest.mark.parametrize("name", ["graddiff", "cliperase", "multidelete", "ccup"])
def test_a_method_leaves_the_weights_that_it_leaves_with_all_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[type] = []

    def unlearned() -> dict[str, Tensor]:
        clip, declaration = partly_trained(), REGISTRY.declaration(name)
        clip.model.double()
        method = REGISTRY.method_class(name)
        values: dict[str, Any] = {"max_steps": 5, "batch_size": 4, "optimizer": "sgd", "learning_rate": 0.05}
        known = declaration.hyperparameters.__dataclass_fields__
        h = resolve(declaration.hyperparameters, "small", {k: v for k, v in values.items() if k in known})
        start = method.on_fit_start

        def started(self: Any) -> None:
            seen.append(type(self.clip.model.token_embedding))
            start(self)

        monkeypatch.setattr(method, "on_fit_start", started)
        data = TinyDataset(cache_dir=tmp_path)
        with in_double():
            unlearning.unlearn(method, h, clip, data, APPLE, cache_dir=tmp_path, seed=0)
        state = clip.model.state_dict()
        monkeypatch.setattr(method, "on_fit_start", start)
        return {key: value.clone() for key, value in state.items()}

    on_used_rows = unlearned()
    monkeypatch.setattr(unlearning, "used_token_rows", lambda clip: nullcontext())
    on_all_rows = unlearned()
    assert seen == [UsedRows, nn.Embedding]
    start = partly_trained().model.double().state_dict()
    assert any(not value.equal(start[key]) for key, value in on_all_rows.items())
    for key, value in on_all_rows.items():
        assert torch.allclose(on_used_rows[key], value, rtol=0, atol=1e-9), key
