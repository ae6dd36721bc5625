"""How long cells are expected to take: by method, from records; a training that several cells share counts once."""

from __future__ import annotations

import pytest

from benchmark.records import lookup
from benchmark.records.cell import Cell
from benchmark.records.lookup import expected_of_cells, known_records, seconds_of
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from datamodules.common.request import ForgetRequest

GROUP = ("star", "ring")


def _cell(method: str, name: str, *, seed: int = 0, retrained: str = "joint", measures: tuple[str, ...] = ()) -> Cell:
    return Cell(
        suite="mine",
        measures=measures,
        method=method,
        dataset="shapes",
        request=ForgetRequest(classes=(name,)),
        model="small",
        seed=seed,
        hparams={},
        others=(),
        precision="fp32",
        device="cpu",
        code="",
        data_revisions={},
        weights="w",
        group=GROUP if retrained else (),
        retrained=retrained,
    )


def _record(
    method: str, seconds: float, measuring: float, model: str = "small", measures: tuple[str, ...] = ()
) -> Record:
    cost: dict[str, float | int | None] = {"unlearn_seconds": seconds, "evaluate_seconds": measuring}
    cell = {"method": method, "model": model, "measures": list(measures)}
    report = {"training_seconds": seconds} if method == "retrain" else {}
    return Record(2, "k", cell, metrics={}, references={}, cost=cost, provenance={}, report=report)


RECORDS = [
    _record("retrain", 500.0, 20.0),
    _record("retrain", 700.0, 40.0),
    _record("retrain", 9000.0, 900.0, "large"),
    _record("ccup", 2.0, 8.0),
]


def test_a_training_that_cells_share_counts_for_the_first_of_them() -> None:
    cells = [_cell("retrain", "star"), _cell("ccup", "star"), _cell("retrain", "ring"), _cell("lip", "star")]
    assert expected_of_cells(cells, RECORDS) == [630.0, 10.0, 30.0, None]
    again = [_cell("retrain", "star"), _cell("retrain", "star", seed=1), _cell("retrain", "ring", seed=1)]
    assert expected_of_cells(again, RECORDS) == [630.0, 630.0, 30.0]


def test_models_of_their_own_are_trained_each() -> None:
    for retrained in ("single", ""):
        cells = [_cell("retrain", name, retrained=retrained) for name in GROUP]
        assert expected_of_cells(cells, RECORDS) == [630.0, 630.0]


def test_without_records_nothing_is_known() -> None:
    assert expected_of_cells([_cell("retrain", "star"), _cell("ccup", "ring")], []) == [None, None]


def test_cells_with_the_same_measures_tell_more_than_others() -> None:
    attacked = ("relearning", "soft_prompt")
    records = [_record("ccup", 2.0, 90.0, measures=attacked), _record("ccup", 2.0, 4.0)]
    plain, all_attacks, one = (_cell("ccup", "star", measures=some) for some in ((), attacked, attacked[:1]))
    assert expected_of_cells([plain, all_attacks], records) == [6.0, 92.0]
    assert expected_of_cells([one], records) == [49.0]  # none alike: the mean over what there is
    other = [_record("ccup", 1.0, 1.0, model="large")]
    assert expected_of_cells([plain], other) == [None]


class Suites(RecordStore):
    """A store of some records by suite, which says what was asked of it."""

    def __init__(self, **suites: list[Record]) -> None:
        self.suites, self.asked = suites, list[str | None]()

    def all(self, suite: str | None = None) -> list[Record]:
        self.asked.append(suite)
        return [record for name, of in self.suites.items() if suite in (None, name) for record in of]


def test_other_suites_are_read_only_where_the_own_one_does_not_tell_of_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Suites(mine=[_record("ccup", 1.0, 1.0)], other=[_record("lip", 2.0, 2.0)])
    monkeypatch.setattr(lookup, "_kept_store", lambda _: reference)
    own = Suites(mine=[_record("ccup", 3.0, 3.0)])
    found = known_records(own, "mine", [_cell("ccup", "star"), _cell("ccup", "ring")])
    assert [seconds_of(record) for record in found] == [2.0, 6.0] and reference.asked == own.asked == ["mine"]
    cells = [_cell("ccup", "star"), _cell("lip", "star")]
    found = known_records(own, "mine", cells)
    assert sorted(seconds_of(record) for record in found) == [2.0, 4.0, 6.0] and reference.asked[-1] is None
    assert expected_of_cells(cells, found) == [4.0, 4.0]
