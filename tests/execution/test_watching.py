"""Watching the accuracy fall: the same records with and without, within its share of the time."""

from __future__ import annotations

import io
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny import APPLE, TinyDataset, tiny_clip
from torch import nn
from world import World, metrics_of

from benchmark.execution import preview as watching
from benchmark.execution.preview import PER_PART, Probe, Watch, Watcher
from benchmark.execution.progress import Progress
from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.unlearning.cost import measured
from benchmark.unlearning.looks import FREE, LOOKS, SHARE, LookBudget
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip, changed_tensors

pytest_plugins = ("world",)
METHODS = "original,cliperase,diet"
SETTINGS = "cliperase.max_steps=4,cliperase.batch_size=4"


def _made(world: World, watcher: Watcher | None) -> dict[str, Any]:
    """What every cell of a class and a concept request gives, by key."""
    plan = world.plan("--methods", METHODS, "--seeds", "0", "--set", f"{SETTINGS},diet.epochs=3")
    runner = CellRunner(plan.registry, plan.where, plan.store, Tracker(None), watcher=watcher)
    return {cell.key: runner.make(cell, runner.references(cell)) for cell in plan.cells}


def test_records_are_the_same_with_and_without(world: World) -> None:
    seen: list[tuple[float, float]] = []
    watched = _made(world, Watcher(lambda forget, retain: seen.append((forget, retain)), share=1e9))  # each step
    alone = _made(world, None)
    assert watched.keys() == alone.keys() and len(seen) > 4 * len(alone)
    assert all(0 <= value <= 1 for pair in seen for value in pair)
    for key, made in alone.items():
        again = watched[key]
        assert metrics_of(again.record) == metrics_of(made.record) and again.record.report == made.record.report
        assert again.outputs.to_bytes() == made.outputs.to_bytes()
        for name in ("flops", "edited_bytes", "items_read", "items_distinct"):
            assert again.record.cost[name] == made.record.cost[name], name
        assert again.unlearned.clip.model.training is False
        state = again.unlearned.clip.model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in made.unlearned.clip.model.state_dict().items())


def _shrink(clip: Any) -> None:
    with torch.no_grad():
        clip.visual.attnpool.c_proj.weight.mul_(-1)


def _look(watch: Watch, before: Clip, now: Clip) -> dict[str, float]:
    """A look at a model elsewhere, of which the tensors that changed are sent."""
    changed = changed_tensors(before.model.state_dict(), now.model.state_dict().items())
    return watch.see({name: value.clone() for name, value in changed.items()}, now.refused)


def test_a_look_sees_the_model_as_it_stands() -> None:
    original, clip, dataset = tiny_clip("resnet"), tiny_clip("resnet"), TinyDataset()
    watch = Watcher(lambda *_: None).watch(original, dataset, APPLE, "fp32")
    state = {name: value.clone() for name, value in original.model.state_dict().items()}
    before = watch.first()
    assert _look(watch, original, clip) == before
    _shrink(clip)
    after = _look(watch, original, clip)
    assert all(torch.equal(value, state[name]) for name, value in original.model.state_dict().items())
    probe = Probe.of(dataset, APPLE, clip)
    with torch.no_grad():
        images, texts = (nn.functional.normalize(each, dim=-1) for each in (clip.encode_image(probe.images),
                                                                            clip.encode_text(probe.texts)))  # fmt: skip
        right = (images @ texts.T).argmax(dim=-1) == probe.answers
    assert after["watch/forget_accuracy"] == pytest.approx(float(right[probe.forget].float().mean()))
    assert after["watch/retain_accuracy"] == pytest.approx(float(right[~probe.forget].float().mean()))
    assert torch.allclose(watch._images, images, atol=1e-6) and before.keys() == after.keys()
    clip.refused = ("apple",)
    assert _look(watch, original, clip)["watch/forget_accuracy"] == 0.0


def test_a_look_leaves_no_trace() -> None:
    clip = tiny_clip("resnet")
    watch, other = Watcher(lambda *_: None).watch(clip, TinyDataset(), APPLE, "fp32"), tiny_clip("resnet")
    _shrink(other)
    calls: list[object] = []
    state = {name: value.clone() for name, value in other.model.state_dict().items()}
    torch.manual_seed(3), np.random.seed(3)
    with measured(other) as cost:
        other.model.train()
        other.visual.register_forward_hook(lambda *_: calls.append(0))
        expected = torch.random.get_rng_state()
        with cost.paused():
            _look(watch, clip, other)
        assert torch.equal(torch.random.get_rng_state(), expected) and torch.is_grad_enabled()
    assert cost.flops == 0 and not calls and all(module.training for module in other.model.modules())
    assert all(torch.equal(value, state[name]) for name, value in other.model.state_dict().items())


def test_unchanged_towers_do_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip("resnet")
    watcher = Watcher(lambda *_: None)
    watch = watcher.watch(clip, TinyDataset(), APPLE, "fp32")
    ran: list[str] = []
    monkeypatch.setattr(watching, "_image_features", lambda *_: ran.append("image") or watch._images)
    monkeypatch.setattr(watching, "_text_features", lambda *_: ran.append("text") or watch._texts)
    other = tiny_clip("resnet")
    _look(watch, clip, other)
    assert ran == []
    _shrink(other)
    _look(watch, clip, other)
    watch.see({}, ())
    assert ran == ["image"]
    watcher.watch(tiny_clip("resnet"), TinyDataset(), APPLE, "fp32")
    assert ran == ["image"]  # the next cell of the request begins with what is known


def test_it_keeps_its_share_of_the_time() -> None:
    now = [0.0]
    budget = LookBudget(0.01, now=lambda: now[0])

    def look() -> None:
        with budget.spent():
            now[0] += 1.0

    look()
    seen, steps = 0, 1000
    for step in range(1, steps + 1):
        now[0] += 0.5
        if budget.due(step, steps):
            look()
            seen += 1
    assert seen > 0
    assert (seen + 1) / now[0] <= SHARE
    assert (seen + 3) / now[0] > SHARE


def test_a_few_looks_are_free() -> None:
    budget = LookBudget(FREE / 2, now=lambda: 0.0)
    due = [step for step in range(1, 101) if budget.due(step, 100)]  # no time goes by: no share of it
    assert len(due) == LOOKS and due[-1] == 100 and {b - a for a, b in itertools.pairwise(due)} <= {12, 13}
    assert [step for step in range(1, 4) if budget.due(step, 3)] == [1, 2, 3]
    dear = LookBudget(2 * FREE, now=lambda: 0.0)
    assert not any(dear.due(step, 100) for step in range(1, 101))


def test_tensors_of_another_model_are_not_looked_at() -> None:
    watch = Watcher(lambda *_: None).watch(tiny_clip("resnet"), TinyDataset(), APPLE, "fp32")
    before = watch.first()
    assert watch.see({"visual.nothing": torch.zeros(2)}, ()) == {}
    assert watch.see({"visual.attnpool.c_proj.weight": torch.zeros(2)}, ()) == {}
    assert watch.see({}, ()) == before


def test_paused_time_is_no_cost() -> None:
    with measured(tiny_clip("resnet")) as cost:
        with cost.paused():
            time.sleep(0.3)
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 0.25


def test_a_concept_is_watched_by_its_captions() -> None:
    clip, dataset = tiny_clip("resnet"), TinyDataset(captions=True)
    request = ForgetRequest(concept="apple")
    probe = Probe.of(dataset, request, clip)
    assert len(probe.texts) == len(probe.images) <= 2 * PER_PART and not probe.by_class
    assert all(("apple" in text) == bool(forget) for text, forget in zip(probe.texts, probe.forget, strict=True))
    assert probe.answers.tolist() == list(range(len(probe.texts)))


# -- the terminal --------------------------------------------------------------------------------------------


def _shown(world: World, *, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None, force_interactive=terminal)
    plan = world.plan()
    progress = Progress({"original": 60.0, "nullspace": 60.0, "random_noise": 60.0}, console)
    progress.start(plan.cells, skipped=2)
    progress.cell(plan.cells[1])
    progress.phase("unlearning")
    progress.accuracy(0.97, 0.99)
    progress.step(3, 10)
    progress.accuracy(0.12, 0.95)
    if progress._bars is not None:
        progress._bars.refresh()
    progress.failed(plan.cells[1], "ValueError: no such thing\nand more")
    progress.stop()
    return stream.getvalue()


def test_a_terminal_shows_cells_phase_accuracy_and_time(world: World) -> None:
    shown = _shown(world, terminal=True)
    assert "unlearning, forget 97 → 12 %, retain 99 → 95 %" in shown and "3/10" in shown
    assert "0/8" in shown and "8 to go, 8:00 left" in shown and "7 to go" in shown
    assert "no such thing" in shown and "and more" not in shown


def test_a_file_gets_lines_and_no_looks(world: World, tmp_path: Path) -> None:
    shown = _shown(world, terminal=False)
    assert "\x1b" not in shown and "97" not in shown and "\r" not in shown
    assert shown.splitlines()[0] == "2 cells are done already; 8 to run" and len(shown.splitlines()) == 2


def test_a_long_cell_says_in_a_file_how_far_it_is(world: World) -> None:
    now = [1000.0]
    stream = io.StringIO()
    progress = Progress(console=Console(file=stream, width=120), now=lambda: now[0])
    plan = world.plan()
    progress.start(plan.cells, skipped=0)
    progress.cell(plan.cells[1])
    progress.phase("training without the forget data")
    for step in range(500, 561):  # goes on from a checkpoint; two seconds a step
        now[0] += 2.0
        progress.step(step, 1000)
    line = f"{plan.cells[1]}: training without the forget data, step 559 of 1000, 14:42 left"
    assert stream.getvalue().splitlines() == [line]
    progress.phase("evaluating")
    progress.step(1, 10)
    assert stream.getvalue().splitlines() == [line]
