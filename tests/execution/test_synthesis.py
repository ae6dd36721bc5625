"""Synthetic forget sets of cells: made once by a process that knows no method, and shared by all cells that ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import APPLE, TinyDataset, tiny_clip

from benchmark.execution.process import unlearner as module
from benchmark.execution.process.unlearner import Unlearner, Work
from benchmark.execution.process.unlearning_child import synthesise_here
from methods.common.card import resolve
from methods.common.registry import Registry

QUICK = {"images": 4, "iterations": 60, "threshold": 0.0, "max_steps": 1, "draws": 2}


def _work(clip: Any, seed: int) -> Work:
    declaration = Registry().declaration("lip")
    hparams = dict(vars(resolve(declaration.hyperparameters, "small", QUICK)))
    return Work(declaration, hparams, clip, TinyDataset(), APPLE, seed)


def test_a_set_is_made_once_for_all_cells_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    run_processes = module.run_processes

    def counted(work: Any, *arguments: Any, **options: Any) -> None:
        made.append(work.__name__)
        run_processes(work, *arguments, **options)

    monkeypatch.setattr(module, "run_processes", counted)
    clip = tiny_clip("vit")
    first = Unlearner(tmp_path).unlearn(_work(clip, seed=0))
    assert made.count(synthesise_here.__name__) == 1
    again = Unlearner(tmp_path).unlearn(_work(tiny_clip("vit"), seed=0))
    assert made.count(synthesise_here.__name__) == 1, (
        "another cell of the same model, names and seed takes the same set"
    )
    assert first.cost.flops == again.cost.flops > 0, "what the set took to make is in the cost of both"
    other = tiny_clip("vit")
    with torch.no_grad():
        next(iter(other.model.visual.parameters())).mul_(1.01)
    Unlearner(tmp_path).unlearn(_work(other, seed=0))
    assert made.count(synthesise_here.__name__) == 2, "another image encoder needs a set of its own"
    Unlearner(tmp_path).unlearn(_work(clip, seed=1))
    assert made.count(synthesise_here.__name__) == 3, (
        "so does another seed: the spread between seeds has that of the sets"
    )
