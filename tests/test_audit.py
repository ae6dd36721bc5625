"""`audit` and `unlearn`: a model that was unlearned elsewhere on the leaderboard, and the engineer's whole job."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from world import Answer, World, command, metrics_of, small_world, write_suite

import benchmark as cub
from benchmark.leaderboards.boards import COSTS
from benchmark.models.loading import weights_hash
from benchmark.records.record import Record
from benchmark.records.store import RecordStore

pytest_plugins = ("world",)


@pytest.fixture(scope="module")
def made(finished: World, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The tiny model after nullspace has forgotten the stars, as checkpoints of three kinds."""
    folder = tmp_path_factory.mktemp("theirs")
    with small_world(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_UNLEARNING_CACHE", str(finished.cache))
        model = finished.suite.read_text().split("models: [")[1].split("]")[0]
        clip = cub.load_model(model, device="cpu")
        data = cub.load_dataset("shapes", clip)
        result = cub.unlearn(clip, "nullspace", data, classes=["star"])
        state = {name: value.contiguous() for name, value in result.clip.model.state_dict().items()}
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "theirs.pt")
        save_file(state, folder / "theirs.safetensors")
        cub.export(result, folder / "exported")
    return SimpleNamespace(model=model, clip=clip, result=result, folder=folder, file=folder / "theirs.pt")


@pytest.fixture
def mine(finished: World, tmp_path: Path) -> Iterator[World]:
    """A finished run of one's own, to be added to."""
    shutil.copytree(finished.results, tmp_path / "results")
    with small_world():
        yield finished.with_results(tmp_path / "results")


def audit(
    world: World, made: SimpleNamespace, *options: object, name: str = "theirs", file: Path | None = None
) -> Answer:
    given = ("--model", made.model, "--unlearned", file or made.file, "--name", name)
    return world("audit", *given, *(options or ("--classes", "star")))


def brought(world: World, name: str = "theirs") -> Record:
    (record,) = [each for each in RecordStore(world.results).all() if each.cell["method"] == name]
    return record


# -- audit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["theirs.pt", "theirs.safetensors", "exported"])
def test_a_checkpoint_of_any_kind_gets_the_numbers_of_its_weights(
    mine: World, made: SimpleNamespace, kind: str
) -> None:
    answer = audit(mine, made, file=made.folder / kind)
    assert answer.status == 0, answer.err
    record = brought(mine)
    (same,) = [
        each
        for each in mine.records().values()
        if each.cell["method"] == "nullspace" and each.cell["request"] == {"classes": ["star"]}
    ]
    assert metrics_of(record) == metrics_of(same)
    assert record.references == same.references and "forget/acc1" in answer.out
    assert record.cell["brought"] == weights_hash(made.result.clip) and record.provenance["regime"] == "brought"
    costs = {name: value for name, value in record.cost.items() if name != "evaluate_seconds"}
    assert set(costs) == set(same.cost) - {"evaluate_seconds"} and set(costs.values()) == {None}
    assert "audit" in record.provenance["command"] and "--classes star" in record.provenance["command"]


def test_its_row_is_ranked_and_marked_in_every_format(mine: World, made: SimpleNamespace) -> None:
    assert audit(mine, made).status == 0
    shown = {
        form: command("leaderboard", "--results", mine.results, "--format", form)
        for form in ("table", "json", "csv", "markdown")
    }
    line = next(line for line in shown["markdown"].out.splitlines() if "theirs" in line)
    assert "| theirs | brought | 1 |" in line
    assert shown["table"].out.count("brought: unlearned elsewhere") == 1
    (board,) = [board for board in json.loads(shown["json"].out) if board["key"]["kind"] == "class"]
    rows = {row["method"]: row for row in board["rows"]}
    assert rows["theirs"]["brought"] and not rows["nullspace"]["brought"]
    assert rows["theirs"]["rank"] == rows["nullspace"]["rank"] == 1 and not rows["theirs"]["front"]
    assert {rows["theirs"][name] for name in COSTS} == {None}
    table = list(csv.DictReader(io.StringIO(shown["csv"].out)))
    assert {row["method"]: row["brought"] for row in table} == {
        **dict.fromkeys(("original", "nullspace", "random_noise"), "False"),
        "theirs": "True",
    }
    frame = cub.leaderboard(mine.results).to_pandas()
    assert list(frame[frame["brought"]]["method"]) == ["theirs"]


def test_the_key_is_of_the_weights_and_the_name(mine: World, made: SimpleNamespace, tmp_path: Path) -> None:
    assert audit(mine, made).status == 0
    first = brought(mine)
    assert audit(mine, made).status == 0 and brought(mine).key == first.key
    state = torch.load(made.file)["state_dict"]
    name = next(name for name in state if name.endswith("logit_scale"))
    torch.save({**state, name: state[name] + 0.01}, tmp_path / "other.pt")
    assert audit(mine, made, name="others", file=tmp_path / "other.pt").status == 0
    assert audit(mine, made, name="again").status == 0
    assert audit(mine, made, "--classes", "star", "--seed", 1, name="seeded").status == 0
    keys = {brought(mine, each).key for each in ("theirs", "others", "again", "seeded")}
    assert len(keys) == 4
    cells = [brought(mine, each).cell for each in ("theirs", "again")]
    assert cells[0]["brought"] == cells[1]["brought"] and {**cells[0], "method": ""} == {**cells[1], "method": ""}


def test_what_runs_cells_again_says_that_it_cannot(mine: World, made: SimpleNamespace, tmp_path: Path) -> None:
    assert audit(mine, made).status == 0
    key = brought(mine).key
    for call in (("verify", key), ("export", key, tmp_path / "out")):
        line = command(*call, "--results", mine.results, "--cache-dir", mine.cache).error
        assert "cannot be run again" in line and "audit" in line
    before = brought(mine)
    where = ("--results", mine.results, "--cache-dir", mine.cache)
    answer = command("measure", "true_name_rank", *where)
    assert answer.status == 0 and "1 brought records are left as they are" in answer.err
    assert brought(mine) == before
    done = mine.run()
    assert done.status == 0 and "nothing to do" in done.out
    for other in mine.records().values():  # a few are enough to draw from
        if other.cell["method"] == "random_noise" or "concept" in other.cell["request"]:
            RecordStore(mine.results).path("tiny", other.key).unlink()
    sample = command("verify", "--sample", 99, *where, "--suite", "tiny")
    assert sample.status == 0 and "theirs" not in sample.out
    assert "2 records: " in sample.out and ", 0 different, 0 not run" in sample.out, "measured from rounded outputs"


def test_the_report_shows_it(mine: World, made: SimpleNamespace, tmp_path: Path) -> None:
    assert audit(mine, made).status == 0
    answer = command("report", "--results", mine.results, "--own", "--out", tmp_path / "page.html")
    assert answer.status == 0, answer.err
    packed = re.search(r'id="data"[^>]*>([^<]+)<', (tmp_path / "page.html").read_text())
    assert packed is not None
    data = gzip.decompress(base64.b64decode(packed[1])).decode()
    assert "theirs" in data and "unlearned elsewhere, brought as a checkpoint" in data


def test_a_checkpoint_that_does_not_fit_is_one_clear_line(mine: World, made: SimpleNamespace, tmp_path: Path) -> None:
    state = torch.load(made.file)["state_dict"]
    name = next(name for name in state if name.endswith("positional_embedding"))
    files = {
        "fewer": ({key: value for key, value in state.items() if key != name}, "is missing"),
        "more": ({**state, "module.extra": torch.zeros(1)}, "extra does not belong there"),
        "wider": ({**state, name: torch.zeros(3, 5)}, "has shape (3, 5)"),
        "nan": ({**state, name: state[name] * torch.nan}, "NaN"),
        "same": (made.clip.model.state_dict(), "nothing was unlearned"),
    }
    for file, (content, says) in files.items():
        torch.save(content, tmp_path / f"{file}.pt")
        assert says in audit(mine, made, file=tmp_path / f"{file}.pt").error
    assert "no checkpoint" in audit(mine, made, file=tmp_path / "nowhere.pt").error
    (tmp_path / "empty").mkdir()
    assert "open_clip_model.safetensors" in audit(mine, made, file=tmp_path / "empty").error
    assert mine.records().keys() == mine.with_results(mine.results).records().keys()
    assert not [each for each in mine.records().values() if each.cell["method"] == "theirs"]


def test_what_is_asked_for_must_be_a_request_of_the_suite(
    finished: World, made: SimpleNamespace, tmp_path: Path
) -> None:
    with small_world():
        world = finished.with_results(tmp_path / "results")
        assert "registered method" in audit(world, made, name="ccup").error
        assert "letters" in audit(world, made, name="my method").error
        assert "checkpoint of its own" in audit(world, made, "--seed", 0).error
        assert "it has --classes 'star'; --concept 'striped'" in audit(world, made, "--classes", "ring").error
        assert "not both" in audit(world, made, "--classes", "star", "--concept", "striped").error
        assert world.files() == set()


def test_a_board_of_several_requests_needs_them_all(made: SimpleNamespace, finished: World, tmp_path: Path) -> None:
    text = finished.suite.read_text().replace("{classes: [star]}", "{classes: [star]}, {classes: [ring]}")
    world = World(
        write_suite(tmp_path, "", text.replace("{", "{{").replace("}", "}}")), finished.cache, tmp_path / "runs"
    )
    with small_world():
        answer = audit(world, made)
    assert answer.status == 0 and "its means stay empty until you audit: --classes 'ring'" in answer.out


def test_from_python_it_is_the_same_record(mine: World, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_UNLEARNING_CACHE", str(mine.cache))
    assert audit(mine, made).status == 0
    clip = cub.load_model(made.model, device="cpu")
    data, other = (cub.load_dataset(name, clip) for name in ("shapes", "shapes_colours"))
    found = cub.audit(
        *(clip, made.result.clip.model, data),
        name="theirs",
        classes=["star"],
        others=[other],
        suite="tiny",
        results=mine.results,
    )
    assert found.record.key == brought(mine).key and found.path is not None and found.path.is_file()
    with torch.no_grad():
        clip.model.logit_scale.add_(0.1)
    with pytest.raises(cub.BenchmarkError, match="changed since it was loaded"):
        cub.audit(clip, made.file, data, name="theirs", classes=["star"], results=mine.results)


# -- unlearn ---------------------------------------------------------------------------------------------------


def unlearn(finished: World, made: SimpleNamespace, out: Path, *options: object) -> Answer:
    with small_world():
        where = ("--model", made.model, "--out", out, "--cache-dir", finished.cache, "--device", "cpu")
        return command("unlearn", *where, *options)


def test_one_line_unlearns_measures_and_exports(finished: World, made: SimpleNamespace, tmp_path: Path) -> None:
    options = ("--method", "ccup", "--classes", "star", "--data", "shapes", "--set", "ccup.retain_weight=10")
    answer = unlearn(
        finished, made, tmp_path / "out", *options, "--measures", "true_name_rank", "--others", "shapes_colours"
    )
    assert answer.status == 0, answer.err
    for word in (
        "ccup made",
        "before",
        "after",
        "forget/acc1",
        "↑",
        "forget/true_name_rank",
        "local-dir",
    ):
        assert word in answer.out
    record = Record.from_dict(json.loads((tmp_path / "out" / "record.json").read_text()))
    assert (
        record.cell["hparams"]["retain_weight"] == 10.0
        and record.metrics["other/shapes_colours/acc1"].value is not None
    )
    page = (tmp_path / "out" / "README.md").read_text()
    assert "star of data set shapes" in page.replace("\\", "") and "| before | after |" in page
    for words in ("--data shapes", "--others shapes_colours", "--set ccup.retain_weight=10", "--classes star"):
        assert words in record.provenance["command"]
    with small_world():
        again = command("verify", tmp_path / "out" / "record.json", "--cache-dir", finished.cache)
    assert again.status == 0 and again.out.rstrip().endswith("to the last digit"), again.out + again.err


def test_from_names_alone_nothing_is_measured_and_it_says_so(
    finished: World, made: SimpleNamespace, tmp_path: Path
) -> None:
    answer = unlearn(
        finished, made, tmp_path / "out", "--method", "ccup", "--classes", "red panda", "--keep", "cat,dog"
    )
    assert answer.status == 0 and "nothing is measured" in answer.out and "forget/acc1" not in answer.out
    page = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing was measured" in page and "red panda" in page and "python -m benchmark unlearn" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("README.md", "record.json", "open_clip_config.json", "open_clip_model.safetensors"),
    }


def test_unlearn_refuses_what_cannot_be_done(finished: World, made: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    star, data = ("--classes", "star"), ("--data", "shapes")
    for options, says in (
        (("--method", "ccup"), "say what to forget"),
        (("--method", "ccup", *star, "--concept", "ring"), "say what to forget"),
        (("--method", "ccup", *star, "--measures", "cka"), "needs images"),
        (("--method", "ccup", *star, "--others", "shapes"), "add --data"),
        (("--method", "ccup", *star, *data, "--keep", "cat"), "--keep is for"),
        (("--method", "gradient_ascent", *star), "reads images"),
        (("--method", "ccup", "--classes", "sttar", *data), "'star'"),
        (("--method", "cccup", *star, *data), "'ccup'"),
        (("--method", "ccup", *star, *data, "--set", "lip.x=1"), "--method is 'ccup'"),
        (("--method", "ccup", *star, *data, "--set", "ccup.retain_wieght=1"), "'retain_weight'"),
        (("--method", "ccup", *star, *data, "--measures", "linear_prob"), "'linear_probe'"),
        (("--method", "logit_mask", *star, *data), "would forget nothing"),
    ):
        assert says in unlearn(finished, made, tmp_path / "out", *options).error, options
        assert not (tmp_path / "out").exists()
    assert "not empty" in unlearn(finished, made, tmp_path / "full", "--method", "ccup", *star).error
