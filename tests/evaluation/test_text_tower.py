"""A text tower cut after the end token gives what the whole context gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_clip
from torch import nn

from benchmark.models.loading import load_clip
from benchmark.models.text_tower import encode_texts, reads_end_token

TEXTS = ["apple", "a photo of a dog", "word " * 100, "a red star on green", "apple", "a cat and two dogs"]


@pytest.mark.parametrize("name", ["resnet", "vit", "shapes-resnet"])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_it_equals_the_whole_context(name: str, batch: int) -> None:
    clip = load_clip(name) if "-" in name else tiny_clip(name)
    state = {key: value.clone() for key, value in clip.model.state_dict().items()}
    with torch.inference_mode():
        whole, cut = clip.encode_text(TEXTS), encode_texts(clip, TEXTS, batch=batch)
    assert torch.allclose(F.normalize(whole.float(), dim=-1), F.normalize(cut, dim=-1), atol=1e-6)
    assert all(torch.equal(value, state[key]) for key, value in clip.model.state_dict().items())


def test_short_texts_are_computed_short(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, seen = tiny_clip("resnet"), list[tuple[int, ...]]()
    handle = clip.model.token_embedding.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    with torch.inference_mode():
        encode_texts(clip, TEXTS, batch=2)
    handle.remove()
    lengths = (clip.tokens(TEXTS).argmax(dim=1) + 1).sort().values
    assert seen == [(2, int(lengths[1])), (2, int(lengths[3])), (2, int(lengths[5]))] and lengths[1] < lengths[5]


def test_a_tower_that_looks_ahead_is_not_cut() -> None:
    clip: Any = tiny_clip("resnet")
    assert reads_end_token(clip.model)
    clip.model.text_pool_type = "last"
    assert not reads_end_token(clip.model)
    clip.model.text_pool_type = "argmax"
    causal = clip.model.attn_mask
    clip.model.attn_mask = causal.clone()
    assert reads_end_token(clip.model)
    clip.model.attn_mask[0, 1] = 0  # written to, and not replaced
    assert not reads_end_token(clip.model)
    clip.model.attn_mask = torch.zeros_like(causal)
    assert not reads_end_token(clip.model) and not reads_end_token(nn.Linear(2, 2))
    with torch.inference_mode():
        assert torch.equal(encode_texts(clip, TEXTS[:2], batch=2), clip.encode_text(TEXTS[:2]).float())
