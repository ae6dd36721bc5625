"""Black-Box Forgetting: the edit is a learned context, the search finds minima, gradients play no part."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import Array, cross_entropy, fit, log_softmax, unit
from tiny import NAMES, tiny_clip, tiny_spec
from torch import Tensor

from datamodules.common.errors import BenchmarkError
from methods.black_box_forgetting import (
    BlackBoxForgetting,
    Hyperparameters,
    PromptContext,
    context_positions,
    forgetting_loss,
    shared_search,
)
from methods.common.clip import Clip


def encode_with_context(clip: Clip, text: str, context: Tensor, start: int) -> Tensor:
    """The text tower by hand, with vectors added to the token embeddings of some positions."""
    model: Any = clip.model
    tokens = clip.tokens([text])
    x = model.token_embedding(tokens)
    x[:, start : start + len(context)] += context
    x = model.transformer(x + model.positional_embedding, attn_mask=model.attn_mask)
    return model.ln_final(x)[0, int(tokens.argmax())] @ model.text_projection


def test_positions_are_those_of_the_words_before_the_name() -> None:
    assert context_positions(tiny_clip("vit"), tiny_spec()) == [0, 1, 2, 3]  # the tiny tokenizer has no start token


def test_positions_with_clips_own_tokenizer_leave_out_the_start_token() -> None:
    from benchmark.models.compact import ClipTokenizer

    clip = tiny_clip("vit")
    clip.tokenize = ClipTokenizer(16)
    assert context_positions(clip, tiny_spec()) == [1, 2, 3, 4]


def test_the_edit_is_the_originals_prompt_with_a_learned_context() -> None:
    clip = tiny_clip("vit")
    pristine = clip.copy()
    torch.manual_seed(0)
    context = PromptContext(clip, tiny_spec(), shared=3, unique=2)
    latents = np.random.default_rng(0).standard_normal(sum(context.dimensions))
    assert context.dimensions == [2, 2, 2, 2, 3]
    context.set(latents)
    context.set(latents)  # from the original each time, not from the last
    own, shared = latents[:8].reshape(4, 2), latents[8:]
    z = torch.from_numpy(np.stack([np.concatenate([shared, each]) for each in own])).float()
    added = z @ context.projection
    assert float(added.detach().abs().max()) > 0.1
    for name in NAMES:
        wanted = encode_with_context(pristine, f"a photo of a {name}", added, 0)
        torch.testing.assert_close(clip.encode_text([f"a photo of a {name}"])[0], wanted, atol=1e-5, rtol=1e-4)
    changed = {n for n, v in clip.model.state_dict().items() if not torch.equal(v, pristine.model.state_dict()[n])}
    assert changed == {"positional_embedding"}
    assert torch.equal(clip.model.positional_embedding[4:], pristine.model.positional_embedding[4:])


def test_projection_has_the_spread_of_the_tokens_that_exist() -> None:
    clip = tiny_clip("vit")
    with torch.no_grad():
        clip.model.token_embedding.weight[100:] = 0
    torch.manual_seed(0)
    projection = PromptContext(clip, tiny_spec(), shared=300, unique=100).projection
    spread = clip.model.token_embedding.weight[:100].std().item()
    assert float(projection.std()) == pytest.approx(spread, rel=0.05)


def test_loss_is_cross_entropy_of_the_kept_plus_cross_entropy_with_the_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    weights, forget, retain = (torch.nn.functional.normalize(torch.randn(n, 5, generator=generator)) for n in (4, 3, 6))
    labels = [1, 2, 3, 1, 2, 3]
    targets = torch.nn.functional.one_hot(torch.tensor(labels), 4).float()

    def logits(x: Tensor) -> Array:
        return 7.0 * unit(x) @ unit(weights).T

    uniform = -np.mean(log_softmax(logits(forget)))
    wanted = cross_entropy(logits(retain), labels) + uniform
    found = forgetting_loss(torch.tensor(7.0), weights, forget, retain, targets)
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert uniform > math.log(4)  # its least value, at full entropy


def test_search_minimises_the_sphere_and_rosenbrock() -> None:
    def sphere(x: Array) -> float:
        return float(((x - 2) ** 2).sum())

    def rosenbrock(x: Array) -> float:
        return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())

    torch.manual_seed(0)
    best, lowest, curve = shared_search(sphere, [2, 2, 3], 1.0, 20, 120)
    assert lowest < 1e-4 and lowest == min(curve) == pytest.approx(sphere(best))
    torch.manual_seed(0)
    best, lowest, _ = shared_search(rosenbrock, [3], 1.0, 20, 200)
    assert lowest < 1e-6
    np.testing.assert_allclose(best, 1.0, atol=1e-2)


def test_the_search_follows_torchs_seed() -> None:
    def once(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return shared_search(lambda x: float((x**2).sum()), [2, 3], 1.0, 6, 3)[2]

    assert once(0) == once(0) != once(1)


@pytest.mark.parametrize("captions", [False, True])
def test_a_run_lowers_the_loss_without_gradients(captions: bool, tmp_path: Path) -> None:
    clip = tiny_clip("vit")
    h = Hyperparameters(batch_size=4, shots=4, iterations=6, population=8)
    method = fit(BlackBoxForgetting, h, clip, tmp_path, captions=captions)
    curve = method.report["loss_by_iteration"]
    assert len(curve) == 6 and min(curve) < curve[0]
    assert all(p.grad is None for p in clip.model.parameters())
    assert method.report["context_tokens"] == 4
    forget = torch.cat(method.forget)[:4]
    retain, targets = torch.cat(method.retain), torch.cat(method.targets)
    with torch.no_grad():
        kept = float(forgetting_loss(clip.logit_scale, method.classifier(), forget, retain, targets))
    assert kept == pytest.approx(min(curve), rel=1e-4)  # the best candidate, not the last, is left in the weights
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))
    assert bool((targets.max(1).values == 1).all()) != captions


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cmaes":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BenchmarkError, match="pip install cmaes"):
        shared_search(lambda x: 0.0, [2], 1.0, 4, 1)


def test_a_text_encoder_without_positions_is_refused() -> None:
    clip = tiny_clip("vit")
    table = clip.model.positional_embedding
    del clip.model.positional_embedding
    clip.model.positional_embedding = table.detach()  # no parameter: nothing to carry a prompt
    with pytest.raises(BenchmarkError, match="choose another method"):
        PromptContext(clip, tiny_spec(), 2, 2)
