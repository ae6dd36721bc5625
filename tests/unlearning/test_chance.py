"""Methods without chance: no result of a seed, and no gradient steps, which amplify rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import APPLE, TinyDataset, tiny_clip

from benchmark.unlearning.unlearn import Unlearned, check_chance, optimizer_steps, unlearn
from methods.common.card import ContractError, MethodCard, resolve
from methods.common.clip import Clip
from methods.common.registry import Registry

REGISTRY = Registry()
CARDS = {name: REGISTRY.declaration(name).card for name in REGISTRY.names()}
WITHOUT_CHANCE = [name for name, card in CARDS.items() if not card.stochastic]
LAST_DIGIT = 1e-7
AMPLIFIED = 1e4
"""How much larger than the disturbance a change may be, relative to the largest weight: an ill-conditioned inverse in
float64 stays far below, thirty gradient steps reach 1e6 and more."""


def _run(name: str, clip: Clip, folder: Path) -> Unlearned:
    declaration = REGISTRY.declaration(name)
    hyperparameters = resolve(declaration.hyperparameters, "small", {})
    return unlearn(
        REGISTRY.method_class(name),
        hyperparameters,
        clip,
        TinyDataset(cache_dir=folder),
        APPLE,
        cache_dir=folder,
        seed=0,
    )


def _disturbed(clip: Clip) -> Clip:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in clip.model.parameters():
            parameter.mul_(1 + LAST_DIGIT * torch.randn(parameter.shape, generator=draw))
    return clip


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_methods_without_chance_take_no_steps_and_do_not_amplify_the_last_digit(name: str, tmp_path: Path) -> None:
    with optimizer_steps() as taken:
        one = _run(name, tiny_clip("resnet"), tmp_path).clip.model.state_dict()
    assert taken.steps == 0
    other = _run(name, _disturbed(tiny_clip("resnet")), tmp_path).clip.model.state_dict()
    for key, value in one.items():
        if value.is_floating_point():
            moved = (value - other[key]).abs().max() / value.abs().max().clamp(min=1e-6)
            assert moved < AMPLIFIED * LAST_DIGIT, (key, float(moved))


def _card(stochastic: bool) -> MethodCard:
    return MethodCard("stepper", "a title", "a paper", "none", ("visual projection",), stochastic=stochastic)


def test_steps_of_any_optimizer_are_counted_and_denied_chance_is_refused() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    with optimizer_steps() as taken:
        for optimizer in (torch.optim.SGD([weight], 0.1), torch.optim.AdamW([weight])):
            weight.grad = torch.ones(2)
            optimizer.step()
    weight.grad = torch.ones(2)
    torch.optim.SGD([weight], 0.1).step()  # after the block
    assert taken.steps == 2
    check_chance(_card(True), 2)
    check_chance(_card(False), 1)
    with pytest.raises(ContractError, match=r"'stepper' says stochastic=False, but took 2 gradient steps"):
        check_chance(_card(False), 2)


def test_a_card_that_denies_chance_fails_where_its_method_takes_steps(tmp_path: Path) -> None:
    method = REGISTRY.method_class("graddiff")
    denied = MethodCard("graddiff", "a title", "a paper", method.card.regime, method.card.edits, stochastic=False)
    denies = type("Denies", (method,), {"card": denied})
    hyperparameters = resolve(REGISTRY.declaration("graddiff").hyperparameters, "small", {"max_steps": 2})
    clip, dataset = tiny_clip("resnet"), TinyDataset(cache_dir=tmp_path)
    with pytest.raises(ContractError, match="took 2 gradient steps"):
        unlearn(denies, hyperparameters, clip, dataset, APPLE, cache_dir=tmp_path, seed=0)
