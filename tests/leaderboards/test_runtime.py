"""Which seconds stand for the time of a method: those of the processors on a CPU, if all rows have them."""

from __future__ import annotations

from dataclasses import replace

from test_leaderboard import record, rows

from benchmark.leaderboards.boards import build
from benchmark.leaderboards.leaderboard import Leaderboard
from benchmark.leaderboards.pareto import pareto_points
from benchmark.leaderboards.tables import render
from benchmark.records.record import Metric, Record

KEPT = {"retain/acc1": Metric(0.9)}


def timed(method: str, seconds: float, cpu: float | None, *, kind: str = "cpu") -> Record:
    made = record(method, kind=kind, device=kind, seconds=seconds, forget=0.2, metrics=KEPT)
    return replace(made, cost=made.cost | ({} if cpu is None else {"cpu_seconds": cpu}))


def test_a_method_that_waited_for_a_busy_machine_is_not_beaten_by_the_clock() -> None:
    (board,) = build([timed("waited", 90.0, 1.0), timed("lucky", 5.0, 8.0)])
    assert board.runtime == "cpu_seconds" and board.costs[0] == "cpu_seconds"
    assert "unlearn_seconds" not in board.costs and "CPU s ↓" in render([board], "table")
    assert rows(board)["waited"].front and not rows(board)["lucky"].front
    frame = Leaderboard((board,), ()).to_pandas()
    assert set(frame["runtime"]) == {"cpu_seconds"} and sorted(frame["unlearn_seconds"]) == [5.0, 90.0]
    assert sorted(pareto_points(frame)["seconds"]) == [1.0, 8.0]


def test_the_clock_counts_where_a_row_has_nothing_else_and_on_a_gpu() -> None:
    (older,) = build([timed("waited", 90.0, 1.0), timed("older", 5.0, None)])
    assert older.runtime == "unlearn_seconds" and not rows(older)["waited"].front and rows(older)["older"].front
    (gpu,) = build([timed("slow", 9.0, 1.0, kind="cuda"), timed("fast", 5.0, 8.0, kind="cuda")])
    assert gpu.runtime == "unlearn_seconds" and rows(gpu)["fast"].front and not rows(gpu)["slow"].front
    assert "cpu_seconds" not in gpu.costs


def test_reference_rows_need_no_cpu_seconds() -> None:
    (board,) = build([timed("m", 2.0, 1.0), timed("retrain", 100.0, None)], references={"retrain"})
    assert board.runtime == "cpu_seconds" and rows(board)["retrain"].costs["cpu_seconds"] is None
