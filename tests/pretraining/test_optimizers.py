"""Muon and AdamW as one optimizer: the right parameters each, one schedule, and a state that can be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import ARCHITECTURES
from torch import nn

from benchmark.pretraining.optimizers import Together, is_block_matrix, make_optimizer, make_schedule, rise_and_fall
from benchmark.pretraining.recipe import Recipe, load_recipe
from datamodules.common.errors import BenchmarkError

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has its own Muon since 2.9")
RECIPE = replace(load_recipe("shapes-vit"), learning_rate=1e-3, warmup=0.2)


def vit() -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES["vit"].build(vocabulary=8)


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@needs_muon
def test_muon_gets_the_matrices_of_the_blocks_and_adamw_all_else_once() -> None:
    model = vit()
    optimizer = make_optimizer(model, RECIPE)
    assert isinstance(optimizer, Together)
    muon, adamw = optimizer.parts
    name_of = {id(p): name for name, p in model.named_parameters()}
    by_muon = {name_of[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = [name_of[id(p)] for group in adamw.param_groups for p in group["params"]]
    assert by_muon == {n for n, p in model.named_parameters() if "resblocks" in n and p.ndim == 2}
    assert "visual.transformer.resblocks.0.attn.in_proj_weight" in by_muon
    assert sorted([*by_muon, *by_adamw]) == sorted(name_of.values())
    decays = {name_of[id(p)]: g["weight_decay"] for g in adamw.param_groups for p in g["params"]}
    assert all((decay > 0) == (dict(model.named_parameters())[name].ndim > 1) for name, decay in decays.items())


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("visual.transformer.resblocks.0.mlp.c_fc.weight", (4, 2), True),
        ("transformer.resblocks.0.mlp.c_fc.bias", (4,), False),
        ("visual.conv1.weight", (4, 3, 2, 2), False),
        ("token_embedding.weight", (4, 2), False),
    ],
)
def test_block_matrices(name: str, shape: tuple[int, ...], wanted: bool) -> None:
    assert is_block_matrix(name, torch.zeros(shape)) == wanted


def test_without_muon_it_is_adamw_alone() -> None:
    optimizer = make_optimizer(vit(), replace(RECIPE, muon=None))
    assert type(optimizer) is torch.optim.AdamW


@needs_muon
def test_one_step_is_a_step_of_each_part() -> None:
    one, other = vit(), vit()
    together = make_optimizer(one, RECIPE)
    muon = torch.optim.Muon(
        [p for n, p in other.named_parameters() if is_block_matrix(n, p)], lr=0.02, weight_decay=RECIPE.weight_decay
    )
    rest = [p for n, p in other.named_parameters() if not is_block_matrix(n, p)]
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": RECIPE.weight_decay},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=1e-3,
        betas=(0.9, 0.98),
    )
    for seed in range(3):
        give_gradients(one, seed)
        give_gradients(other, seed)
        together.step()
        muon.step()
        adamw.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@needs_muon
def test_the_closure_runs_once_with_gradients() -> None:
    model, calls = vit(), []
    optimizer = make_optimizer(model, RECIPE)

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        give_gradients(model, 0)
        return 1.5

    with torch.no_grad():
        assert optimizer.step(closure) == 1.5
    assert calls == [True]


@needs_muon
def test_the_schedule_moves_the_rates_of_both() -> None:
    optimizer = make_optimizer(vit(), RECIPE)
    schedule = make_schedule(optimizer, RECIPE, 10)
    seen: list[tuple[float, ...]] = []
    for _ in range(10):
        seen.append(tuple(g["lr"] for part in optimizer.parts for g in part.param_groups))  # type: ignore[attr-defined]
        optimizer.step()
        schedule.step()
    factors = [rise_and_fall(step, steps=10, warmup=0.2) for step in range(10)]
    assert seen == [pytest.approx((0.02 * f, 1e-3 * f, 1e-3 * f)) for f in factors]
    assert factors.index(max(factors)) == 2 and factors[2] == 1 and factors[0] < factors[1]
    assert factors[2:] == sorted(factors[2:], reverse=True) and factors[-1] < 0.1
    assert rise_and_fall(10, steps=10, warmup=0.2) == 0


@needs_muon
def test_a_kept_state_goes_on_to_the_same_weights(tmp_path: Any) -> None:
    def steps(model: nn.Module, optimizer: Any, schedule: Any, seeds: range) -> None:
        for seed in seeds:
            give_gradients(model, seed)
            optimizer.step()
            schedule.step()

    whole, early, late = vit(), vit(), vit()
    optimizer = make_optimizer(whole, RECIPE)
    steps(whole, optimizer, make_schedule(optimizer, RECIPE, 8), range(8))
    optimizer = make_optimizer(early, RECIPE)
    schedule = make_schedule(optimizer, RECIPE, 8)
    steps(early, optimizer, schedule, range(3))
    kept = {"model": early.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(kept, tmp_path / "kept")
    kept = torch.load(tmp_path / "kept", weights_only=True)
    optimizer = make_optimizer(late, RECIPE)
    schedule = make_schedule(optimizer, RECIPE, 8)
    late.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    schedule.load_state_dict(kept["schedule"])
    steps(late, optimizer, schedule, range(3, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), late.parameters(), strict=True))


def test_an_older_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Recipe = RECIPE
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(BenchmarkError, match=r"needs torch 2\.9"):
        make_optimizer(vit(), recipe)
