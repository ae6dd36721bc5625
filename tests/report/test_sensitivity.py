"""The figure of the trials: each at its rate and score, and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmark.report.content import collect
from benchmark.report.gathering import gather
from benchmark.report.page import render
from benchmark.report.sensitivity import PANEL, axis_of, sensitivity_figures
from benchmark.suites.tuned.trials import FILE, FOLDER, KeptTrial, save_trials
from methods.common.registry import Registry

SVG = "{http://www.w3.org/2000/svg}"
RATES = (1e-4, 1e-6, 1e-2, 1e-5)
SCORES = (0.4, 0.1, None, 0.8)


def trial(number: int, **changes: Any) -> KeptTrial:
    fields: dict[str, Any] = {
        "method": "graddiff", "dataset": "shapes", "kind": "class", "model": "shapes-resnet", "weights": "compact:0",
        "revision": "1", "suite": "development", "source": "0", "seed": 0, "number": number, "rate": "learning_rate",
        "values": {"max_steps": 40, "learning_rate": RATES[number]}, "score": "Q",
        "means": {"Q": SCORES[number], "S": 0.1},
    }  # fmt: skip
    return KeptTrial(**{**fields, **changes})


def marks(svg: str, style: str) -> list[ElementTree.Element]:
    return [node for node in ElementTree.fromstring(svg).iter() if node.get("class") == style]


def test_each_trial_stands_at_its_rate_and_score() -> None:
    (figure,) = sensitivity_figures([trial(number) for number in range(4)])
    assert (figure.title, figure.score, figure.trials) == ("shapes, forget class, shapes-resnet", "Q", 4)
    low, near = marks(figure.svg, "trial")
    (untuned,), (failed,), (best,) = (marks(figure.svg, style) for style in ("untuned", "failed", "best"))
    assert float(low.get("cx", 0)) < float(near.get("cx", 0)) < float(untuned.get("x", 0)) < PANEL[0]
    assert float(near.get("cy", 0)) < float(low.get("cy", 0)), "the better one stands higher"
    assert (best.get("cx"), best.get("cy")) == (near.get("cx"), near.get("cy"))
    titles = [node.text or "" for node in ElementTree.fromstring(figure.svg).iter(f"{SVG}title")]
    assert "trial 3: Q 0.800 (max_steps 40, learning_rate 1e-05)" in titles
    assert any(title.startswith("trial 2: failed") for title in titles) and failed is not None
    middle = (float(untuned.get("x", 0)) + 4 - float(low.get("cx", 0))) / 2 + float(low.get("cx", 0))
    assert float(near.get("cx", 0)) == pytest.approx(middle, abs=0.2), "the axis is of logarithms"


def test_the_lowest_s_is_the_best_and_other_searches_have_figures_of_their_own() -> None:
    by_s = [trial(n, kind="concept", score="S", means={"Q": None, "S": s}) for n, s in enumerate((0.3, 0.1, 0.2, 0.25))]
    other = trial(0, method="ccup", kind="concept", score="S", rate="", values={"names": "all", "weight": 3.0})
    figures = sensitivity_figures([trial(0), *by_s, other])
    assert [(figure.title, figure.trials) for figure in figures] == [
        ("shapes, forget class, shapes-resnet", 1),
        ("shapes, forget concept, shapes-resnet", 5),
    ]
    best = marks(figures[1].svg, "best")
    lowest = next(node for node in marks(figures[1].svg, "trial") if "S 0.100" in "".join(node.itertext()))
    assert lowest.get("cx") in [node.get("cx") for node in best] and len(best) == 2
    assert axis_of([other]) == "weight" and axis_of([trial(0, rate="", values={"k": 3})]) == ""


def test_the_page_shows_the_users_trials(tmp_path: Path) -> None:
    registry = Registry()
    without = render(collect(gather(tmp_path, tmp_path / "none", which="own"), registry))
    save_trials(tmp_path / FOLDER / FILE, [trial(number) for number in range(4)])
    page = render(collect(gather(tmp_path, tmp_path / "none", which="own"), registry))
    assert 'id="tuning"' in page and "shapes, forget class, shapes-resnet" in page and "<svg" in page
    assert 'id="tuning"' not in without
