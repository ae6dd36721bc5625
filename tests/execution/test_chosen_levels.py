"""The attack levels that come with the project: they are asked for, they are right, and damaged ones are made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.api.loading import load_dataset, load_model
from benchmark.evaluation.attack_level import _key
from benchmark.evaluation.context import Context
from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.measures import relearning
from benchmark.execution import chosen_levels
from benchmark.execution.chosen_levels import bring, kept_in
from datamodules.common.request import ForgetRequest

SHAPES = ("shapes-small", "shapes", "star")
LARGER = ("shapes-resnet", "shapes", "star")
PHOTOGRAPHS = [("micro", "cifar100", "apple"), ("micro", "development:cifar100", "lamp")]


def context(model: str, dataset: str, name: str, folder: Path | None, data_dir: Path | None = None) -> Context:
    clip = load_model(model)
    data = load_dataset(dataset, clip, data_dir=data_dir)
    request, store = ForgetRequest(classes=(name,)), EmbeddingStore(folder)
    return Context(clip, clip, data, request, store, metrics={}, before=None, seed=0)


def file_of(examined: Context) -> str:
    return f"relearning-{_key(examined, 'relearning', relearning.RATES)}.json"


def test_the_first_board_finds_its_level_and_it_is_the_one_that_would_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = chosen_levels.chosen_levels()
    kept = levels[file_of(context(*SHAPES, None))]
    assert file_of(context(*LARGER, None)) in levels
    place = relearning.RATES.index(kept["value"])
    monkeypatch.setattr(relearning, "RATES", relearning.RATES[place - 1 : place + 1])
    chosen = relearning.chosen_rate(context(*SHAPES, tmp_path))
    assert chosen.value == kept["value"], "the next larger one costs the original a point or more"
    assert (chosen.images, chosen.part) == (kept["images"], kept["part"])
    assert chosen.lost == pytest.approx(kept["lost"], abs=0.005), "other chips round otherwise"


@pytest.mark.parametrize(("model", "dataset", "name"), PHOTOGRAPHS)
def test_those_of_photographs_are_those_that_runs_ask_for(
    model: str, dataset: str, name: str, real_data_dir: Path
) -> None:
    assert file_of(context(model, dataset, name, None, real_data_dir)) in chosen_levels.chosen_levels()


def test_no_level_is_of_nothing() -> None:
    assert len(chosen_levels.chosen_levels()) == 2 + len(PHOTOGRAPHS), "each is asked for by a test above"


def test_what_is_brought_is_found_and_nothing_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path)
    assert dict(kept_in(tmp_path)) == chosen_levels.chosen_levels()
    monkeypatch.setattr(relearning, "fine_tune", lambda *_: pytest.fail("nothing is left to choose"))
    examined = context(*SHAPES, tmp_path)
    assert relearning.chosen_rate(examined).value == chosen_levels.chosen_levels()[file_of(examined)]["value"]


def test_one_that_is_there_stays_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    bring(tmp_path)
    first, second = sorted(tmp_path.glob("*.json"))[:2]
    first.write_bytes(first.read_bytes()[:20])
    before = second.stat().st_mtime_ns
    bring(tmp_path)
    assert dict(kept_in(tmp_path)) == chosen_levels.chosen_levels() and second.stat().st_mtime_ns == before


def test_the_file_is_written_from_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path / chosen_levels.FEATURES)
    monkeypatch.setattr(chosen_levels, "FILE", tmp_path / "levels.json")
    chosen_levels.main(str(tmp_path))
    assert json.loads((tmp_path / "levels.json").read_text()) == chosen_levels.chosen_levels()
