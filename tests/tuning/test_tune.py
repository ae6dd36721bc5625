"""`tune` and `run --tuned`, as a user meets them, on a small world."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tuned_entry import tuned_entry
from world import SHORT, Answer, World, command, small_world, write_plugin, write_suite

from benchmark.execution.runner import CellRunner
from benchmark.leaderboards.grouping import board_key
from benchmark.leaderboards.scored import with_quality
from benchmark.records.failures import Failure
from benchmark.records.lookup import cell_of
from benchmark.records.record import Record, key_of
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.report.views import views
from benchmark.suites.suite import Variant
from benchmark.suites.suite_file import SuiteError, load_suite, parse_suite, suite_names
from benchmark.suites.tuned.space import competes, space_of
from benchmark.suites.tuned.trials import TUNED, load_trials, trials_file
from benchmark.suites.tuned.values import TunedError, load_tuned, revision_notes, save_tuned, tuned_text, with_tuned
from benchmark.tuning.search import DEVELOPMENT, ROUND, TRIALS
from datamodules.common.card import DEVELOPMENT_SCHEME
from methods.common.registry import Registry

pytest_plugins = ("world",)

REGISTRY = Registry()
TUNING_SUITE = """title: what nothing reports
models: [{model}]
seeds: [0]
tasks: [{{dataset: "development:shapes", requests: [{{classes: [heart]}}, {{classes: [trapezoid]}}]}}]
"""
ONE_REQUEST = TUNING_SUITE.replace(", {{classes: [trapezoid]}}", "")
COUNT = 7
"""Trials of most searches here: two rounds."""
BEST = 1.0
KNOWN = """
        projection = visual_projection(self.clip)
        names = self.classifier().double()
        dual = torch.linalg.pinv(names)
        projection.compose(torch.eye(len(dual), dtype=torch.double) - 2 * torch.outer(names[0], dual[:, 0]))
        away = abs(torch.tensor(self.h.factor / BEST).log10())
        projection.bias.add_(100 * away * names[-1])
"""
"""S of this method falls towards BEST. The first edit turns the sign of every image's product with the name to forget
and leaves its products with the others; the second adds the same to each product with one name, in proportion to the
distance from BEST: an image that is right where nothing is added is right up to some distance and wrong beyond."""
DIVERGES = """
        if self.h.factor > 0.5:
            visual_projection(self.clip).weight.fill_(float("nan"))
"""
BREAKS = """
        if self.h.factor > 0.5:
            raise RuntimeError("no such factor")
"""


class Bench:
    """A tuning suite, a stranger's method, and the file of the values found."""

    def __init__(
        self, tiny: SimpleNamespace, folder: Path, body: str = KNOWN, best: float = BEST, requests: str = TUNING_SUITE
    ) -> None:
        self.model, self.cache, self.results, self.out = tiny.model, tiny.cache, folder / "results", folder / "t.yaml"
        self.suite = write_suite(folder, tiny.model, requests, "unreported.yaml")
        self.plugin = write_plugin(folder, body=body.replace("BEST", str(best)), regime="names")
        self.world = World(write_suite(folder, tiny.model), tiny.cache, self.results)

    def tune(self, method: str = "stranger", *options: object, trials: int = COUNT, keep: bool = True) -> Answer:
        where = ("--suite", self.suite, "--model", self.model, "--results", self.results, "--cache-dir", self.cache)
        out = ("--out", self.out) if keep else ()
        budget = ("--trials", trials)
        return command("tune", method, *where, *budget, "--device", "cpu", "--plugin", self.plugin, *out, *options)

    def trials(self) -> RecordStore:
        return RecordStore(self.results / "tuning")

    def strangers(self) -> list[Record]:
        return [record for record in self.trials().all() if record.cell["method"] == "stranger"]

    def entry(self) -> Any:
        (entry,) = load_tuned(self.out)
        return entry


@pytest.fixture
def bench(tiny_world: SimpleNamespace, tmp_path: Path) -> Iterator[Bench]:
    with small_world():
        yield Bench(tiny_world, tmp_path)


@pytest.fixture(scope="module")
def tuned(tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Answer]]:
    """The stranger after one search; not to be changed."""
    found = Bench(tiny_world, tmp_path_factory.mktemp("tuned"))
    with small_world():
        answer = found.tune()
    assert answer.status == 0, answer.err
    yield found, answer


# -- the search ----------------------------------------------------------------------------------------------


def test_a_better_setting_than_the_first_is_found_and_kept(tuned: tuple[Bench, Answer]) -> None:
    bench, answer = tuned
    entry = bench.entry()
    assert entry.untuned is not None and entry.objective < entry.untuned and entry.score == "S"
    tried = [record.cell["hparams"]["factor"] for record in bench.strangers()]
    assert len(set(tried)) == COUNT and tried.count(0.5) == 2
    nearest = min(tried, key=lambda factor: abs(math.log10(factor / BEST)))
    assert entry.values == {"factor": nearest}
    assert f"factor={nearest:g}; {entry.untuned:.3f} before tuning" in answer.out
    lines = [line for line in answer.out.splitlines() if line.split()[:1] == ["1"]]
    assert lines[0].split()[4] == f"{nearest:g}", "the best stands at the top"


def test_the_objective_is_the_mean_over_the_requests(tuned: tuple[Bench, Answer]) -> None:
    bench, _ = tuned
    entry = bench.entry()
    of = {0.5: entry.untuned, entry.values["factor"]: entry.objective}
    for factor, objective in of.items():
        records = [record for record in bench.strangers() if record.cell["hparams"]["factor"] == factor]
        assert {str(record.cell["request"]["classes"]) for record in records} == {"['heart']", "['trapezoid']"}
        scores = [record.metrics["score/kravets"].value for record in records]
        assert objective == pytest.approx(sum(scores) / 2, abs=1e-6)


def test_what_is_kept_says_how_it_was_found(tuned: tuple[Bench, Answer]) -> None:
    bench, _ = tuned
    entry, record = bench.entry(), bench.strangers()[0]
    assert (entry.method, entry.dataset, entry.kind) == ("stranger", "shapes", "class")
    assert (entry.trials, entry.failed, entry.suite, entry.model) == (COUNT, 0, "unreported", "tiny.safetensors")
    assert entry.weights == record.cell["weights"] and entry.weights.startswith("compact:")
    assert entry.revision == record.cell["data_revisions"]["development:shapes"]
    assert (
        entry.command.startswith("python -m benchmark tune stranger --suite ") and f"--out {bench.out}" in entry.command
    )
    assert Registry([bench.plugin]).source_hash("stranger").startswith(entry.method_source)


def test_every_trial_is_kept(tuned: tuple[Bench, Answer]) -> None:
    bench, _ = tuned
    kept = load_trials(trials_file(bench.out))
    assert kept == load_trials(bench.results / "tuning" / "trials.jsonl") and len(kept) == COUNT
    assert [trial.number for trial in kept] == list(range(COUNT)) and kept[0].values == {"factor": 0.5}
    best = min(kept, key=lambda trial: (trial.objective is None, trial.objective))
    assert best.values == bench.entry().values and best.objective == bench.entry().objective
    assert set(best.requests) == {"heart", "trapezoid"} and best.means["Q"] is None


def test_a_second_call_runs_nothing_and_says_the_same(
    tuned: tuple[Bench, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, first = tuned
    before = bench.out.read_text()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a cell was run")

    monkeypatch.setattr(CellRunner, "run", never)
    with small_world():
        answer = bench.tune()
    assert (answer.status, answer.out, bench.out.read_text()) == (0, first.out, before)


def test_a_search_goes_on_where_it_was(
    tuned: tuple[Bench, Answer], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tuned[0].results, bench.results)
    lost = bench.strangers()[0]
    bench.trials().path("unreported", lost.key).unlink()
    bench.plugin.write_text(tuned[0].plugin.read_text())
    run, keys = CellRunner.run, []

    def counted(self: CellRunner, cell: Any) -> Record:
        keys.append(cell.key)
        return run(self, cell)

    monkeypatch.setattr(CellRunner, "run", counted)
    assert bench.tune().status == 0 and keys == [lost.key]
    assert bench.entry().values == tuned[0].entry().values


def test_a_shorter_search_draws_the_first_trials_of_a_longer_one(
    tuned: tuple[Bench, Answer], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tuned[0].results, bench.results)
    monkeypatch.setattr(CellRunner, "run", lambda *_, **__: pytest.fail("a cell was run"))
    assert bench.tune(trials=ROUND).status == 0
    assert bench.entry().trials == ROUND


def test_ctrl_c_keeps_what_is_done_and_no_value(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = CellRunner.run, []

    def stop(self: CellRunner, *arguments: object, **named: object) -> object:
        calls.append(arguments)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return run(self, *arguments, **named)

    monkeypatch.setattr(CellRunner, "run", stop)
    answer = bench.tune()
    assert answer.status == 130 and "run the same command to go on" in answer.out and not bench.out.exists()
    assert bench.trials().all()


def test_the_first_setting_stays_where_it_is_the_best(tiny_world: SimpleNamespace, tmp_path: Path) -> None:
    bench = Bench(tiny_world, tmp_path, best=0.5, requests=ONE_REQUEST)
    with small_world():
        answer = bench.tune(trials=4)
    assert "the settings before tuning (S " in answer.out and "are the best of 4 trials: they stay" in answer.out
    assert bench.entry().values == {"factor": 0.5} and bench.entry().objective == bench.entry().untuned


# -- trials that fail ----------------------------------------------------------------------------------------


def test_a_trial_that_diverges_ends_at_once_is_the_worst_and_is_not_run_again(
    tiny_world: SimpleNamespace, tmp_path: Path
) -> None:
    bench = Bench(tiny_world, tmp_path, DIVERGES)
    with small_world():
        first, second = (bench.tune(trials=ROUND) for _ in range(2))
    assert first.status == second.status == 0, first.err
    assert "DivergedError" in first.out and second.out == first.out
    failed = [line for line in first.out.splitlines() if line.startswith("trial ") and "failed" in line]
    assert bench.entry().failed == len(failed) > 0 and bench.entry().values["factor"] <= 0.5
    assert all("heart" in line for line in failed), "the second request of such a trial is not run"
    assert len((bench.results / "tuning" / "failures.jsonl").read_text().splitlines()) == len(failed)


def test_another_failure_is_the_worst_too_but_ends_with_status_1_and_runs_again(
    tiny_world: SimpleNamespace, tmp_path: Path
) -> None:
    bench = Bench(tiny_world, tmp_path, BREAKS, requests=ONE_REQUEST)
    with small_world():
        first, second = (bench.tune(trials=ROUND) for _ in range(2))
    assert first.status == second.status == 1
    assert "RuntimeError: no such factor" in first.out and "failures.jsonl" in first.out
    failures = (bench.results / "tuning" / "failures.jsonl").read_text().splitlines()
    assert len(failures) == 2 * bench.entry().failed > 0, "they run again"


def test_where_every_trial_fails_nothing_is_kept(tiny_world: SimpleNamespace, tmp_path: Path) -> None:
    bench = Bench(tiny_world, tmp_path, DIVERGES.replace("> 0.5", "> 0.0"), requests=ONE_REQUEST)
    with small_world():
        answer = bench.tune(trials=2)
    assert "no trial gave a score" in answer.out and not bench.out.exists()


# -- tuned runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tuned: tuple[Bench, Answer], tmp_path: Path) -> Iterator[tuple[World, tuple[object, ...]]]:
    """The world without results, and the options of a tuned run in it."""
    bench = tuned[0]
    world = World(write_suite(tmp_path, bench.model, SHORT), bench.cache, tmp_path / "results")
    options = ("--plugin", bench.plugin, "--methods", "original,stranger,random_noise,lip")
    with small_world():
        yield world, (*options, "--tuned-values", bench.out)


@pytest.fixture(scope="module")
def both(
    tuned: tuple[Bench, Answer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, tuple[object, ...], dict[str, Record], Answer]]:
    """A world after an untuned run and the same run tuned: the options of the latter, the records of the former, and
    what the latter said; not to be changed."""
    bench, folder = tuned[0], tmp_path_factory.mktemp("both")
    world = World(write_suite(folder, bench.model, SHORT), bench.cache, folder / "results")
    options = ("--plugin", bench.plugin, "--methods", "original,stranger,random_noise,lip", "--tuned-values", bench.out)
    with small_world():
        assert world.run("--plugin", bench.plugin, "--methods", "original,stranger").status == 0
        untuned = world.records()
        yield world, options, untuned, world.run(*options)


def test_tuned_and_untuned_rows_never_meet(
    both: tuple[World, tuple[object, ...], dict[str, Record], Answer],
) -> None:
    world, _, untuned, answer = both
    assert answer.status == 0, answer.err
    assert "1 method is not tuned and left out (lip): run `python -m benchmark tune lip`" in answer.err
    fresh = {key: record for key, record in world.records().items() if key not in untuned}
    assert {record.cell["method"] for record in fresh.values()} == {"original", "stranger", "random_noise"}
    assert {record.cell["tuned"] for record in fresh.values()} == {f"{COUNT} trials on unreported, tiny.safetensors"}
    assert not {board_key(r) for r in fresh.values()} & {board_key(r) for r in untuned.values()}
    assert all(r.references["original"] in fresh for r in fresh.values() if r.cell["method"] != "original")
    shown = command("leaderboard", "--results", world.results).out
    titles = [line for line in shown.splitlines() if line.startswith("tiny ·")]
    assert len(titles) == 2 and sum(f"tuned: {COUNT} trials on unreported" in title for title in titles) == 1
    assert "stranger factor=" not in shown, "on one board two settings of a method would be told apart by name"


def test_a_tuned_record_says_what_it_is_and_repeats(
    both: tuple[World, tuple[object, ...], dict[str, Record], Answer],
) -> None:
    world, options, _, _ = both
    record = next(r for r in world.records().values() if r.cell["method"] == "stranger" and r.cell.get("tuned"))
    file = str(options[-1])
    (entry,) = load_tuned(Path(file))
    assert record.cell["hparams"] == dict(entry.values)
    assert cell_of(record).key == record.key
    typed = record.provenance["command"].split()
    assert typed[typed.index("--tuned-values") + 1] == file and "--set" not in typed
    # but for --keys KEY --force
    plan = command("plan", *typed[4:-3], "--results", world.results, "--cache-dir", world.cache)
    assert record.key[:12] in plan.out and f"tuned: {record.cell['tuned']}" in plan.out


def test_a_concept_takes_no_values_of_classes(
    asked: tuple[World, tuple[object, ...]], tuned: tuple[Bench, Answer], tmp_path: Path
) -> None:
    _, options = asked
    bench = tuned[0]
    world = World(write_suite(tmp_path, bench.model), bench.cache, tmp_path / "results")
    plan = world("plan", *options)
    assert (
        "forget concept of shapes, tiny.safetensors: 2 methods are not tuned and left out (stranger, lip)" in plan.err
    )
    assert "striped" not in plan.out and "star" in plan.out


def test_reference_rows_and_methods_with_nothing_to_tune_run_as_they_are(
    asked: tuple[World, tuple[object, ...]],
) -> None:
    world, options = asked
    with_leace = [str(each).replace(",lip", ",leace") for each in options]
    plan = world("plan", *with_leace)
    assert plan.status == 0 and "not tuned" not in plan.err and " leace " in plan.out
    assert command("tune", "leace", "--out", world.results / "x.yaml", "--cache-dir", world.cache).out.startswith(
        "leace, class: nothing to tune (batch_size and max_steps"
    )


def changed(bench: Bench, path: Path, **changes: Any) -> Path:
    """The file of values of a bench with fields of its entry changed."""
    (entry,) = load_tuned(bench.out)
    save_tuned(path, replace(entry, **changes))
    return path


def test_what_changed_since_the_search_is_named(
    asked: tuple[World, tuple[object, ...]], tuned: tuple[Bench, Answer], tmp_path: Path
) -> None:
    world, options = asked
    file = changed(tuned[0], tmp_path / "old.yaml", method_source="0" * 16, revision="other")
    answer = world("plan", *options[:-1], file)
    assert (
        ": stranger changed since the values were found: tune again with `python -m benchmark tune stranger`"
        in answer.err
        and answer.status == 0
    )
    assert "data set shapes: the tuned values were found on other images or annotations" in answer.err
    assert "other images" not in world("plan", *options).err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "compact:0"}, "were found on other weights (compact:0, not compact:"),
        ({"weights": "compact:0", "model": "shapes-resnet"}, "old.yaml has values for shapes-resnet, none for "),
    ],
)
def test_other_weights_and_another_model_are_refused(
    asked: tuple[World, tuple[object, ...]],
    tuned: tuple[Bench, Answer],
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    world, options = asked
    line = world.run(*options[:-1], changed(tuned[0], tmp_path / "old.yaml", **changes)).error
    assert message in line and "`python -m benchmark tune --all --model" in line and world.files() == set()


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "stranger.factor=1"), "leave out --set"),
        (("--model", "ViT-B-32/openai"), "keeps the published defaults"),
        (
            ("--methods", "lip"),
            "no method is left to run: forget class of shapes, tiny.safetensors: 1 method is not tuned",
        ),
        (("--tuned-values", "nowhere.yaml"), "no file nowhere.yaml of tuned values"),
    ],
)
def test_a_tuned_run_is_refused(
    tuned: tuple[Bench, Answer], tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    bench = tuned[0]
    world = World(bench.world.suite, bench.cache, tmp_path / "results")
    chosen = () if "--methods" in options else ("--methods", "original,stranger")
    with small_world():
        line = world.run("--plugin", bench.plugin, "--tuned-values", bench.out, *chosen, *options).error
    assert message in line and world.files() == set()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "other", "trials": 24}, "methods of one board have one budget"),
        ({}, "'stranger' stands twice for shapes, class"),
        ({"method": "other", "trials": "many"}, "trials must be a whole number, not 'many'"),
        ({"method": "other", "values": [1]}, "values must be a mapping, not a list"),
        ({"kind": "both"}, "kind is 'both': use class, concept or images"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_damaged_file_of_values(
    tuned: tuple[Bench, Answer], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    bench = tuned[0]
    content = yaml.safe_load(bench.out.read_text())
    file = tmp_path / "bad.yaml"
    file.write_text(tuned_text(yaml.safe_dump([*content, {**content[0], **change}])))
    with pytest.raises(TunedError) as caught:
        load_tuned(file)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"faktor": 1.0}, "unknown hyperparameter 'faktor'"), ({"factor": -1.0}, "factor=-1.0 is out of its range")],
)
def test_values_that_the_method_does_not_take(
    tuned: tuple[Bench, Answer], tmp_path: Path, values: dict[str, object], message: str
) -> None:
    bench = tuned[0]
    world = World(bench.world.suite, bench.cache, tmp_path / "results")
    file = changed(bench, tmp_path / "bad.yaml", values=values)
    with small_world():
        line = world.run("--plugin", bench.plugin, "--methods", "stranger", "--tuned-values", file).error
    assert message in line and world.files() == set()


def test_a_file_of_values_that_is_no_yaml(tuned: tuple[Bench, Answer], tmp_path: Path) -> None:
    world = World(tuned[0].world.suite, tuned[0].cache, tmp_path / "results")
    edited = tuned[0].out.read_text().replace("trials: ", "trials: 1", 1)
    for text in (tuned_text("[x"), tuned_text("a: 1\n"), edited, ""):
        (tmp_path / "bad.yaml").write_text(text)
        with small_world():
            assert "bad.yaml" in world.run("--tuned-values", tmp_path / "bad.yaml").error
    (tmp_path / "bad.yaml").write_text(tuned_text(""))
    with small_world():
        assert "nothing is tuned yet" in world.run("--tuned-values", tmp_path / "bad.yaml").error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a method, such as `tune ccup`, or all of them"),
        (("ccup", "--all"), "name a method, such as `tune ccup`, or all of them"),
        (("cup",), "did you mean 'ccup'"),
        (("original",), "'original' is a reference row"),
        (("retrain",), "'retrain' is a reference row"),
        (("ccup", "--trials", "0"), "--trials takes a number from 1 to 10000, not 0"),
        (("ccup", "--trials", "many"), "--trials takes a whole number, not 'many'"),
        (("ccup", "--jobs", "0"), "--jobs takes a number from 1 to 1024, not 0"),
        (("ccup", "--model", "ViT-B-32/openai"), "keeps the published defaults"),
        (("ccup", "--model", "shapes-resnet,shapes-vit"), "tuning takes one model"),
        (("ccup", "--model", "shapes-resnt"), "did you mean 'shapes-resnet'"),
        (("ccup", "--suite", "quick"), "tune on classes that no suite reports"),
        (("ccup", "--suite", "quik"), "did you mean 'quick'"),
        (("ccup", "--plugin", "nowhere.py"), "plugin file nowhere.py does not exist"),
    ],
)
def test_a_search_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(CellRunner, "run", lambda *_, **__: pytest.fail("a cell was run"))
    line = command("tune", *arguments, "--results", world.results, "--cache-dir", world.cache).error
    assert message in line and world.files() == set()


def test_a_search_on_images_that_boards_report_is_refused(bench: Bench) -> None:
    bench.suite.write_text(bench.suite.read_text().replace('"development:shapes"', "shapes"))
    line = bench.tune().error
    assert "measures the test images of 'shapes', which boards report: write development:shapes" in line
    assert "has no request by concept" in Bench.tune(replaced(bench), "stranger", "--kind", "concept").error


def replaced(bench: Bench) -> Bench:
    """The bench with its suite as it was."""
    bench.suite.write_text(bench.suite.read_text().replace("dataset: shapes", 'dataset: "development:shapes"'))
    return bench


def test_another_budget_does_not_go_into_the_same_file(tuned: tuple[Bench, Answer], bench: Bench) -> None:
    save_tuned(bench.out, replace(tuned[0].entry(), method="other"))
    before = bench.out.read_bytes()
    assert "name another file with --out" in bench.tune(trials=3).error
    assert bench.out.read_bytes() == before and not bench.trials().all()


def test_a_search_that_is_not_the_common_one_is_not_kept_in_the_project(bench: Bench) -> None:
    before = TUNED.read_bytes() if TUNED.exists() else b""
    answer = bench.tune(trials=2, keep=False)
    assert answer.status == 0 and "its values are not kept; name a file with --out" in answer.out
    assert len(bench.trials().all()) > 0 and not bench.out.exists(), "its trials are"
    assert (TUNED.read_bytes() if TUNED.exists() else b"") == before


def test_a_failed_tuned_cell_is_a_row_of_the_tuned_board_alone(
    both: tuple[World, tuple[object, ...], dict[str, Record], Answer],
) -> None:
    world = both[0]
    records = [*world.records().values()]
    of = next(r for r in records if r.cell["method"] == "stranger" and r.cell.get("tuned"))
    failure = Failure.of("f" * 64, {**of.cell, "method": "ccup"}, RuntimeError("no"))
    found = views(with_quality(records), [failure], ["original", "random_noise"])
    rows = {board.key: {row.method for row in board.whole.board.rows} for board in found}
    assert {key for key, names in rows.items() if "ccup" in names} == {board_key(of)}


# -- what is committed ---------------------------------------------------------------------------------------


def test_the_committed_values_were_found_by_the_common_search() -> None:
    trials = {(t.search, t.number): t for t in load_trials(trials_file())}
    for entry in load_tuned():
        assert entry.trials == TRIALS and entry.suite in suite_names() and entry.suite.startswith(DEVELOPMENT)
        assert entry.command.startswith(f"python -m benchmark tune {entry.method}") and competes(REGISTRY, entry.method)
        assert ("--data-dir DIR" in entry.command) == (entry.dataset != "shapes") and " /" not in entry.command
        dimensions = space_of(REGISTRY, entry.method).dimensions
        assert set(entry.values) == set(dimensions)
        assert all(dimensions[key].holds(value) for key, value in entry.values.items())
        better = entry.untuned is None or (
            entry.objective >= entry.untuned if entry.score == "Q" else entry.objective <= entry.untuned
        )
        assert better, entry.method
        of_search = [t for (search, _), t in trials.items() if search == entry.place]
        assert len(of_search) == TRIALS and any(t.objective == entry.objective for t in of_search)


@pytest.mark.parametrize("name", ["quick", "reference", "oracle"])
def test_no_row_of_a_board_of_classes_of_the_embedded_world_is_untuned(name: str) -> None:
    suite, notes = with_tuned(load_suite(name), REGISTRY)
    assert suite.settings == "tuned" and notes == []
    ranked = {each for each in REGISTRY.names() if competes(REGISTRY, each) and space_of(REGISTRY, each).dimensions}
    (model,) = suite.models
    values = suite.tuned[model, "shapes", "class"].values
    assert len(ranked) > 40 and ranked <= {method for method, chosen in values.items() if chosen}


def test_a_tuned_run_keeps_the_variants_of_the_protocol_and_refuses_those_of_what_is_tuned(tmp_path: Path) -> None:
    quick, file = replace(load_suite("quick"), settings="declared"), tmp_path / "t.yaml"
    weights = "compact:0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.suites.tuned.values.model_identity", lambda _: weights)
        values = {"forget_weight": 3.0, "retain_weight": 4.0}
        save_tuned(file, tuned_entry(method="ccup", model=quick.models[0], weights=weights, values=values))
        suite, notes = with_tuned(quick, REGISTRY, file)
        assert suite.variants == quick.variants != () and suite.tuned
        (task, *_), (model, *_) = suite.tasks, suite.models
        plain, all_names = suite.overrides("ccup", model, task.dataset, task.requests[0])[0]
        assert all_names == {**plain, "retain_names": "all"} and plain == values
        assert any("left out" in note and "lip" in note for note in notes)
        swept = replace(quick, variants=(Variant("ccup", {"forget_weight": 1.0}),))
        with pytest.raises(TunedError, match="leave out --set"):
            with_tuned(swept, REGISTRY, file)


def test_a_suite_that_asks_for_tuned_settings_leaves_nothing_out(tmp_path: Path) -> None:
    quick, file = replace(load_suite("quick"), settings="tuned"), tmp_path / "t.yaml"
    with pytest.MonkeyPatch.context() as patch:
        own = {quick.models[0]: "compact:0"}
        patch.setattr("benchmark.suites.tuned.values.model_identity", lambda model: own.get(model, model))
        entry = tuned_entry(method="nullspace", model=quick.models[0], weights="compact:0", values={"alpha": 0.7})
        save_tuned(file, entry)
        suite, notes = with_tuned(quick, REGISTRY, file)
        (model,), (task, by_concept) = suite.models, suite.tasks
        star, concept = task.requests[0], by_concept.requests[0]
        assert star.classes and concept.concept and task.dataset == by_concept.dataset
        for request in (*task.requests, concept):
            assert all(suite.runs(name, model, task.dataset, request) for name in REGISTRY.names())
        assert suite.overrides("nullspace", model, task.dataset, star)[0] == [{"alpha": 0.7}]
        assert suite.overrides("graddiff", model, task.dataset, star)[0] == [{}], "as declared, on the same board"
        assert suite.tuned_group(model, task.dataset, star) and not suite.tuned_group(model, task.dataset, concept)
        (missing,) = [note for note in notes if "keep their declared values" in note]
        assert missing.startswith(f"forget class of shapes, {model}: ") and "graddiff" in missing
        for some in (("original",), ("graddiff", "logit_mask"), ("nullspace",)):
            alone, told = with_tuned(replace(quick, methods=some), REGISTRY, file)
            group = alone.tuned_group(model, task.dataset, star)
            assert group is not None and group.budget == suite.tuned_group(model, task.dataset, star).budget, some
            assert any("not tuned" in note for note in told) == ("graddiff" in some)
        published = replace(quick, models=("ViT-B-32/openai",))
        assert with_tuned(published, REGISTRY, file) == (published, [])
        own[model] = "compact:1"
        assert with_tuned(quick, REGISTRY, file) == (quick, []), "a model of that name, with weights of its own"


def test_the_command_line_has_the_last_word_on_settings(
    asked: tuple[World, tuple[object, ...]], tuned: tuple[Bench, Answer], tmp_path: Path
) -> None:
    world, options = asked
    text = world.suite.read_text().replace("methods:", "settings: tuned\nmethods:", 1)
    assert "settings: tuned" in text
    (suite := tmp_path / "tiny.yaml").write_text(text)
    own = World(suite, world.cache, tmp_path / "results")
    rest = options[: list(options).index("--tuned-values")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.suites.tuned.trials.TUNED", tuned[0].out)
        as_asked, declared = own("plan", *rest), own("plan", *rest, "--untuned")
        set_by_hand = own("plan", *rest, "--set", "stranger.factor=0.5")
    assert f"(tuned: {COUNT} trials on unreported" in as_asked.out and "(tuned" not in declared.out
    assert "1 method is not tuned and keeps its declared values (lip)" in as_asked.err and " lip " in as_asked.out
    assert "(tuned" not in set_by_hand.out and "with --set its rows take the declared values" in set_by_hand.err
    line = own("plan", *rest, "--untuned", "--tuned").error
    assert line == "error: --untuned and --tuned contradict each other: leave out one"


def test_development_suites_have_three_requests_of_each_kind_and_no_image_that_boards_report() -> None:
    names = [name for name in suite_names() if name.startswith(DEVELOPMENT) and "oracle" not in name]
    assert len(names) == 4
    for name in names:
        suite = load_suite(name)
        requests = [request for task in suite.tasks for request in task.requests]
        for kind in ("class", "concept"):
            assert sum(request.kind == kind for request in requests) in (0, 3), name
        measured = [dataset for task in suite.tasks for dataset in (task.dataset, *task.others)]
        assert all(dataset.startswith(DEVELOPMENT_SCHEME) for dataset in measured)


def test_the_committed_untuned_records_keep_their_boards() -> None:
    untuned = [r for r in RecordStore(REFERENCE, older=True).all() if "tuned" not in r.cell]
    assert untuned and {board_key(record).tuned for record in untuned} == {""}


def test_an_untuned_cell_has_the_key_it_had_before_there_was_tuning(tuned: tuple[Bench, Answer]) -> None:
    for record in tuned[0].trials().all():
        assert "tuned" not in record.cell and cell_of(record).key == record.key == key_of(record.cell)


BORROWED = """title: two worlds
models: [shapes-resnet]
seeds: [0]
settings: tuned
tuned_on: {{{taker}: {giver}}}
tasks:
  - {{dataset: shapes_colours, others: [shapes, shapes_backgrounds], requests: [{{classes: [red]}}, {{concept: red}}]}}
"""


def test_a_suite_takes_the_values_of_another_data_set_where_it_says_so(tmp_path: Path) -> None:
    path, file = tmp_path / "s.yaml", tmp_path / "t.yaml"
    suite = parse_suite(BORROWED.format(taker="shapes_colours", giver="shapes"), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.suites.tuned.values.model_identity", lambda _: "compact:0")
        for dataset, alpha in (("shapes", 0.7), ("shapes_backgrounds", 0.1)):
            save_tuned(file, tuned_entry(dataset=dataset, revision=f"of {dataset}", values={"alpha": alpha}))
        taken, notes = with_tuned(suite, REGISTRY, file)
        own, _ = with_tuned(replace(suite, tuned_on={}), REGISTRY, file)
    (task,), (model,) = suite.tasks, suite.models
    red, concept = task.requests
    assert taken.overrides("nullspace", model, task.dataset, red)[0] == [{"alpha": 0.7}]
    group = taken.tuned_group(model, task.dataset, red)
    assert group is not None and group.budget == "24 trials on development, shapes-resnet"
    assert not taken.tuned_group(model, task.dataset, concept) and not own.tuned, "another kind, and nothing of its own"
    assert all(note.startswith("forget class of shapes, ") for note in notes) and notes
    opened: Any = {
        name: SimpleNamespace(revision=f"of {name}") for name in ("shapes", "shapes_colours", "shapes_backgrounds")
    }
    assert revision_notes(taken, opened) == [], "held against the data set on which they were found"
    opened["shapes"].revision = "newer"
    (note,) = revision_notes(taken, opened)
    assert note.startswith("data set shapes: the tuned values were found on other images")


@pytest.mark.parametrize(
    ("taker", "giver", "said"),
    [("shapes", "shapes_colours", "no task of this suite is on"), ("shapes_colours", "mnist", "name it under others")],
)
def test_where_values_come_from_is_a_data_set_of_the_suite(tmp_path: Path, taker: str, giver: str, said: str) -> None:
    text = BORROWED.format(taker=taker, giver=giver)
    with pytest.raises(SuiteError, match=f"s.yaml, line 5: .*{said}"):
        parse_suite(text, tmp_path / "s.yaml")
    with pytest.raises(SuiteError, match="is for a suite with settings: tuned"):
        parse_suite(text.replace("settings: tuned\n", ""), tmp_path / "s.yaml")
