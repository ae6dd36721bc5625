"""Paraphrases and soft prompts on models whose right answer is known."""

from __future__ import annotations

import pytest
import torch
from examined import context_of
from tiny import APPLE, NAMES, tiny_clip, words_tokenizer
from torch.nn import functional
from world import ROOT

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures import paraphrases, soft_prompt
from benchmark.evaluation.numerics.metrics import predict
from datamodules.common.paraphrases import Paraphrases, load_paraphrases
from datamodules.common.request import ForgetRequest
from datamodules.shapes_world.vocabulary import SHAPE_SYNONYMS

WORDS = Paraphrases(("one {}",), {"apple": ("red fruit", "bus")})


def test_every_shape_and_every_synonym_has_its_paraphrases() -> None:
    found = load_paraphrases("shapes")
    assert found is not None and set(found.names) == set(SHAPE_SYNONYMS)
    assert all(set(SHAPE_SYNONYMS[name]) <= set(others) for name, others in found.names.items())


FILES = sorted(path.stem for path in (ROOT / "datamodules" / "paraphrases").glob("*.yaml"))


@pytest.mark.parametrize("dataset", FILES)
def test_paraphrases_are_other_words_with_one_place_for_the_name(dataset: str) -> None:
    found = load_paraphrases(dataset)
    assert found is not None and all(template.count("{}") == 1 for template in found.templates)
    assert all(len(others) >= 3 and len(set(others)) == len(others) for others in found.names.values())
    assert load_paraphrases("no such data set") is None


@pytest.mark.parametrize("dataset", FILES)
def test_a_paraphrase_is_the_name_of_no_class(dataset: str) -> None:
    found = load_paraphrases(dataset)
    assert found is not None
    assert not {other for others in found.names.values() for other in others} & set(found.names)


def test_worst_prompt_is_the_best_of_all_wordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paraphrases, "load_paraphrases", lambda _: WORDS)
    context = context_of(tiny_clip("vit"), APPLE)
    images, labels = context.images(), context.labels()
    shares = []
    for template in (*context.dataset.templates, "one {}"):
        for wording in ("apple", "red fruit", "bus"):
            names = [wording, *NAMES[1:]]
            weights = context.clip.zero_shot_classifier(names, (template,))
            right = predict(images[labels == 0], weights) == 0
            shares.append((float(right.float().mean()), template.format(wording)))
    found = paraphrases.measure(context)["forget/worst_prompt_acc1"]
    assert found.value == pytest.approx(max(share for share, _ in shares))
    assert (found.value, context.report["worst_prompt"]["apple"]) in [(pytest.approx(s), p) for s, p in shares]


def test_a_filter_refuses_its_name_and_not_a_synonym(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paraphrases, "load_paraphrases", lambda _: WORDS)
    context = context_of(tiny_clip("vit"), APPLE)
    context.clip.refused = ("apple",)
    told = {prompt: refused.tolist() for prompt, _, refused in paraphrases.classifiers(context, 0, WORDS)}
    assert told["one apple"] == [True, False, False, False]
    assert told["one red fruit"] == [False] * 4


def test_no_paraphrases_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotMeasurableError, match="no paraphrases for data set 'tiny'"):
        paraphrases.measure(context_of(tiny_clip("vit"), APPLE))
    monkeypatch.setattr(paraphrases, "load_paraphrases", lambda _: WORDS)
    with pytest.raises(NotMeasurableError, match="'bus'"):
        paraphrases.measure(context_of(tiny_clip("vit"), ForgetRequest(classes=("bus",))))
    with pytest.raises(NotMeasurableError, match="by concept"):
        paraphrases.measure(context_of(tiny_clip("vit"), ForgetRequest(concept="apple"), captions=True))


def test_inserted_vectors_take_the_place_of_the_words() -> None:
    clip = tiny_clip("vit")
    table = soft_prompt.token_embedding(clip)
    usual = table(clip.tokens(["a photo of a"]))[0, : soft_prompt.TOKENS]
    before = clip.encode_text(["one two three four five apple"])
    with soft_prompt.inserted(table, torch.zeros(soft_prompt.TOKENS, usual.shape[-1])):
        first, second = clip.encode_text(["x x x x x apple", "x y z x x apple"])
    assert torch.allclose(first, second, atol=1e-6) and not torch.allclose(first, before[0], atol=1e-3)
    assert torch.equal(clip.encode_text(["one two three four five apple"]), before), "the hook is gone"


def test_a_soft_prompt_finds_a_class_that_its_usual_prompt_lost() -> None:
    clip = tiny_clip("vit")
    clip.tokenize = lambda texts: words_tokenizer([f"start {text}" for text in texts])  # as CLIP's own begins
    prompts = [" ".join(["y"] * soft_prompt.TOKENS) + f" {name}." for name in NAMES]
    hidden = functional.normalize(clip.encode_text(prompts).detach(), dim=-1)  # where another prompt has the classes
    labels = torch.arange(4).repeat(16)
    images = functional.normalize(
        hidden[labels] + 0.01 * torch.randn(64, hidden.shape[1], generator=torch.Generator().manual_seed(0)), dim=-1
    )
    usual = functional.normalize(clip.encode_text([f"x x x x {name}." for name in NAMES]), dim=-1)
    weights = torch.full((64,), 1 / 64)
    learned = soft_prompt.learn(clip, NAMES, images, labels, weights)

    def loss(rows: torch.Tensor) -> float:
        return float(functional.cross_entropy(clip.logit_scale * images @ rows.T, labels).detach())

    assert loss(learned) < 0.8 * loss(usual)
    assert torch.allclose(learned.norm(dim=-1), torch.ones(4), atol=1e-5)
