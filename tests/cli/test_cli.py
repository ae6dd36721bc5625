"""The command line, as a user meets it: every command on a small world."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_recipe import SHORT_CYCLE, TINY
from world import ROOT, SHRINK, World, command, metrics_of, small_world, write_plugin

from benchmark.cli.parser import COMMANDS
from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.execution import contract
from benchmark.records.record import json_digest, key_of
from benchmark.records.store import RecordStore

pytest_plugins = ("world",)


@pytest.fixture
def copied(finished: World, world: World) -> World:
    """The finished suite's records in a folder that may be changed."""
    shutil.copytree(finished.results, world.results)
    return World(finished.suite, finished.cache, world.results)


# -- run -----------------------------------------------------------------------------------------------------


def test_run_makes_every_cell_once(finished: World) -> None:
    with small_world():
        cells = finished.plan().cells
    assert len(cells) == 8 and set(finished.records()) == {cell.key for cell in cells}


def test_a_second_run_has_nothing_to_do(copied: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a tower was run")

    monkeypatch.setattr(EmbeddingStore, "_run_trunk", never)
    monkeypatch.setattr(EmbeddingStore, "texts", never)
    before = {path: (copied.results / path).read_bytes() for path in copied.files()}
    answer = copied.run()
    assert answer.status == 0 and "nothing to do: all 8 cells" in answer.out
    assert before == {path: (copied.results / path).read_bytes() for path in copied.files()}


def test_only_missing_cells_run(copied: World) -> None:
    lost = next(record for record in copied.records().values() if record.cell["method"] == "nullspace")
    path = RecordStore(copied.results).path("tiny", lost.key)
    path.unlink()
    kept = {name: (copied.results / name).stat().st_mtime_ns for name in copied.files() if name.endswith(".json")}
    answer = copied.run()
    assert answer.status == 0 and "1 cells run, 7 were done, 0 failed" in answer.out
    assert all((copied.results / name).stat().st_mtime_ns == when for name, when in kept.items())
    assert metrics_of(copied.records()[lost.key]) == metrics_of(lost)


def test_force_runs_what_is_done(copied: World) -> None:
    before = copied.records()
    answer = copied.run("--force", "--methods", "nullspace")
    assert answer.status == 0 and "2 cells run, 0 were done" in answer.out
    after = copied.records()
    assert {key: metrics_of(r) for key, r in after.items()} == {key: metrics_of(r) for key, r in before.items()}
    changed = {after[k].cell["method"] for k in after if after[k].cost != before[k].cost}
    assert changed == {"nullspace"}


def test_force_is_quiet(copied: World, recwarn: pytest.WarningsRecorder) -> None:
    answer = copied.run("--force", "--methods", "nullspace")
    assert answer.status == 0 and "Warning" not in answer.err
    assert not [str(w.message) for w in recwarn if "log" in str(w.message).lower()]


def test_keys_choose_cells(world: World) -> None:
    chosen = next(cell for cell in world.plan().cells if cell.method == "original")
    answer = world.run("--keys", chosen.key[:12])
    assert answer.status == 0 and set(world.records()) == {chosen.key}


@pytest.mark.parametrize("prefix", ["1e5", "007", "12345678", "0x1f", "1_0"])
def test_a_key_that_looks_like_a_number_stays_text(world: World, prefix: str) -> None:
    assert f"begins with {prefix};" in world.run("--keys", prefix).error


def test_set_changes_the_key_and_the_result(copied: World) -> None:
    before = copied.records()
    assert copied.run("--methods", "random_noise", "--set", "random_noise.scale=0.01").status == 0
    fresh = [record for key, record in copied.records().items() if key not in before]
    assert len(fresh) == 4 and all(record.cell["hparams"] == {"scale": 0.01} for record in fresh)
    labels = command("leaderboard", "--results", copied.results).out
    assert "scale=0.01" in labels and "scale=0.2" in labels


def test_shards_are_disjoint_and_complete(world: World) -> None:
    seeds = ("--seeds", ",".join(map(str, range(20))))  # by key, so few cells may all be in one
    whole = {cell.key for cell in world.plan(*seeds).cells}
    first, second = ({c.key for c in world.plan("--shard", f"{i}/2", *seeds).cells} for i in (1, 2))
    assert first | second == whole and not first & second and first and second


def test_shards_merge_by_copying(finished: World, world: World, tmp_path: Path) -> None:
    for number in (1, 2):
        part = finished.with_results(tmp_path / str(number))
        assert part.run("--shard", f"{number}/2").status == 0
        shutil.copytree(part.results, world.results, dirs_exist_ok=True)
    expected = {key: metrics_of(record) for key, record in finished.records().items()}
    assert {key: metrics_of(record) for key, record in world.records().items()} == expected


def test_the_command_of_a_record_repeats_it(tiny_world: SimpleNamespace, tmp_path: Path) -> None:
    where = ("--cache-dir", tiny_world.cache, "--results")
    setting = ("--methods", "random_noise", "--set", "random_noise.scale=0.1", "--seeds", "1")
    with small_world():
        asked = ("run", "--suite", "quick", "--model", tiny_world.model, "--device", "cpu", *setting)
        keys = command("plan", *asked[1:], *where, tmp_path / "no").out
        assert command(*asked, *where, tmp_path / "one").status == 0, keys
        record = next(r for r in RecordStore(tmp_path / "one").all() if r.cell["method"] == "random_noise")
        parts = shlex.split(record.provenance["command"])
        assert parts[:4] == ["python", "-m", "benchmark", "run"]
        again = command(*parts[3:], *where, tmp_path / "two")
    assert again.status == 0, again.err
    assert RecordStore(tmp_path / "two").read(record.key) is not None


# -- plan ----------------------------------------------------------------------------------------------------


def test_plan_counts_done_missing_and_failed(copied: World, tmp_path: Path) -> None:
    assert "8 done, 0 missing, 0 failed; about 0:00 to go" in copied("plan").out
    broken = write_plugin(tmp_path, body="raise RuntimeError('broken on purpose')")
    options = ("--plugin", broken, "--methods", "original,nullspace,stranger")
    assert copied.run(*options).status == 1
    lost = next(record for record in copied.records().values() if record.cell["method"] == "nullspace")
    RecordStore(copied.results).path("tiny", lost.key).unlink()
    before = copied.files()
    answer = copied("plan", *options)
    assert answer.status == 0 and "3 done, 1 missing, 2 failed" in answer.out
    assert "2 cells of unknown length" in answer.out and copied.files() == before


def test_plan_writes_nothing(world: World) -> None:
    answer = world("plan")
    assert answer.status == 0 and "0 done, 8 missing, 0 failed" in answer.out and not world.results.exists()


# -- leaderboard ---------------------------------------------------------------------------------------------


def test_leaderboard_json_holds_the_means(finished: World) -> None:
    boards = json.loads(command("leaderboard", "--results", finished.results, "--format", "json").out)
    assert {board["key"]["kind"] for board in boards} == {"class", "concept"}
    rows = {(b["key"]["kind"], row["method"]): row for b in boards for row in b["rows"]}
    noise = [
        r for r in finished.records().values() if r.cell["method"] == "random_noise" and "concept" in r.cell["request"]
    ]
    mean = sum(record.metrics["score/kravets"].value for record in noise) / len(noise)
    assert rows["concept", "random_noise"]["score/kravets"] == pytest.approx(mean)
    assert rows["concept", "original"]["reference"] and rows["concept", "nullspace"]["rank"] == 1


def test_leaderboard_csv_parses_back(finished: World) -> None:
    text = command("leaderboard", "--results", finished.results, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["method"] for row in rows} == {"original", "nullspace", "random_noise"} and len(rows) == 6
    original = next(row for row in rows if row["method"] == "original" and row["kind"] == "class")
    assert float(original["score/kravets"]) == pytest.approx(1 / 3) and float(original["forget/acc1"]) > 0


def test_leaderboard_markdown_parses_back(finished: World) -> None:
    lines = command("leaderboard", "--results", finished.results, "--format", "markdown").out.splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 2 * 5 and len({line.count("|") for line in tables[:5]}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]
    assert [row[cells[0].index("method")] for row in cells[2:5]] == ["original", "random_noise", "nullspace"]
    place = cells[0].index("S ↓")
    assert cells[2][place] == "0.333"


def test_leaderboard_table_shows_every_method(finished: World) -> None:
    text = command("leaderboard", "--results", finished.results).out
    originals = [line for line in text.splitlines() if "original" in line.split()]
    assert text.count("nullspace") == 2 and "forget concept" in text
    assert len(originals) == 2 and all("0.333" in line.split() for line in originals)


def test_leaderboard_of_one_suite(finished: World) -> None:
    assert command("leaderboard", "--results", finished.results, "--suite", "tiny").status == 0
    assert (
        "no records of suite 'other'" in command("leaderboard", "--results", finished.results, "--suite", "other").error
    )


def test_leaderboard_compares_two_methods(finished: World) -> None:
    asked = ("leaderboard", "--results", finished.results, "--compare", "nullspace", "random_noise")
    boards = json.loads(command(*asked, "--format", "json").out)
    assert {(board["key"]["kind"], board["a"], board["b"]) for board in boards} == {
        (kind, "nullspace", "random_noise") for kind in ("class", "concept")
    }
    scores = {
        method: [r.metrics["forget/acc1"].value for r in finished.records().values() if r.cell["method"] == method
                 and "classes" in r.cell["request"]]
        for method in ("nullspace", "random_noise")
    }  # fmt: skip
    one = command(*asked, "--format", "csv", "--metric", "forget/acc1").out
    (row,) = csv.DictReader(io.StringIO(one))
    assert float(row["difference"]) == pytest.approx(scores["nullspace"][0] - sum(scores["random_noise"]) / 2)
    assert (row["requests"], row["pairs"], row["verdict"]) == ("1", "2", "not distinguishable")
    assert "not distinguishable: one request" in command(*asked).out


def test_leaderboard_refuses_what_it_cannot_compare(finished: World) -> None:
    asked = ("leaderboard", "--results", finished.results)
    assert "did you mean 'nullspace'" in command(*asked, "--compare", "nulspace", "original").error
    assert "expected 2 arguments" in command(*asked, "--compare", "nullspace").error
    assert "--compare A B --metric forget/acc1" in command(*asked, "--metric", "forget/acc1").error
    wrong = command(*asked, "--compare", "nullspace", "original", "--metric", "forget/acc")
    assert "unknown metric 'forget/acc': did you mean" in wrong.error and "'forget/acc1'" in wrong.error


# -- list, help ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("methods", ("ccup", "forget+retain", "2410.23330")),
        ("datasets", ("shapes_colours", "flickr30k", "cifar100")),
        ("models", ("shapes-resnet", "ViT-B-32/openai")),
        ("suites", ("quick", "hexagon")),
        ("measures", ("acc1", "score/kravets", "image_retrieval_recall@5")),
    ],
)
def test_list_names_what_there_is(what: str, expected: tuple[str, ...]) -> None:
    answer = command("list", what)
    assert answer.status == 0 and all(word in answer.out for word in expected)


def test_light_commands_do_not_import_torch(finished: World, tmp_path: Path) -> None:
    places = ["--results", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")]
    calls = [
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
        ["plan", "--suite", "quick", "--device", "cpu", *places],
        ["leaderboard", "--results", str(finished.results)],
    ]
    calls += [[*calls[-1], "--compare", "original", "nullspace"]]
    calls += [["list", what] for what in ("methods", "datasets", "models", "suites", "measures")]
    retrains = ["plan", "--suite", "reference", "--device", "cpu", *places]  # asks PyTorch how it would train
    code = (
        "import contextlib, io, json, sys\n"
        "from benchmark.__main__ import main\n"
        "heavy = {}\n"
        "for call in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        try: status = main(call)\n"
        "        except SystemExit as end: status = end.code or 0\n"
        "    found = sorted({'torch', 'torchvision', 'lightning', 'open_clip', 'wandb', 'scipy'} & set(sys.modules))\n"
        "    heavy[' '.join(call)] = [status, found]\n"
        "print(json.dumps(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*calls, retrains])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    last = found.pop(" ".join(retrains))
    assert {call: seen for call, seen in found.items() if seen[0] != 0 or {"torch", "open_clip"} & {*seen[1]}} == {}
    assert last[0] == 0 and not {"lightning", "torchvision", "open_clip"} & {*last[1]}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    answer = command(name, "--help")
    assert answer.status == 0 and "usage" in answer.out.lower()
    assert "Args:" not in answer.out and ("Example" in answer.out or name == "list")


# -- verify --------------------------------------------------------------------------------------------------


def _verify(world: World, what: object) -> object:
    return command("verify", what, "--results", world.results, "--cache-dir", world.cache)


def test_verify_repeats_a_record(copied: World) -> None:
    record = next(r for r in copied.records().values() if r.cell["method"] == "random_noise")
    answer = _verify(copied, record.key[:16])
    assert answer.status == 0 and f"equal: all {len(record.metrics)} numbers, to the last digit" in answer.out
    device = record.provenance["device"]
    assert f"recorded on: {device} (cpu), the same packages\nnow on: {device} (cpu), the same packages" in answer.out
    assert copied.records()[record.key].to_dict() == record.to_dict()


def test_verify_leaves_the_results_as_they_were(copied: World) -> None:
    key = next(iter(copied.records()))
    before = {path: (copied.results / path).read_bytes() for path in copied.files()}
    assert _verify(copied, key).status == 0
    assert {path: (copied.results / path).read_bytes() for path in copied.files()} == before


def _changed(world: World, folder: Path, change: Callable[[dict[str, Any]], None], **forged: bool) -> Path:
    """A record changed by hand; `forged`: with the digest or even the key made to fit what it says now."""
    record = next(r for r in world.records().values() if r.cell["method"] == "nullspace").to_dict()
    change(record)
    if forged.get("key"):
        record["key"] = key_of(record["cell"])
    if forged.get("digest"):
        record["digest"] = json_digest({name: value for name, value in record.items() if name != "digest"})
    path = folder / "changed.json"
    path.write_text(json.dumps(record))
    return path


def _better(record: dict[str, Any]) -> None:
    record["metrics"]["retain/mean_recall"]["value"] += 0.2


def test_verify_refuses_a_record_changed_by_hand(copied: World, tmp_path: Path) -> None:
    line = _verify(copied, _changed(copied, tmp_path, _better)).error
    assert "changed.json: its digest is not that of its content: it was changed or damaged" in line


def test_verify_finds_a_changed_number(copied: World, tmp_path: Path) -> None:
    answer = _verify(copied, _changed(copied, tmp_path, _better, digest=True))
    assert answer.status == 1 and re.search(r"different: 1 of \d+ numbers; retain/mean_recall is", answer.out)
    assert "nullspace has no chance, so only rounding could explain a difference" in answer.out


def test_verify_refuses_a_changed_cell(copied: World, tmp_path: Path) -> None:
    def other(record: dict[str, Any]) -> None:
        record["cell"]["hparams"] = {"alpha": 0.5}

    changed = _changed(copied, tmp_path, other, digest=True)
    assert "its key is not that of its cell" in _verify(copied, changed).error


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("others", "does not describe a cell of this version: 'others'"),
        ("weights", "does not describe a cell of this version: "),
        ("scale", "was changed: its key does not fit its cell"),  # it has a default, with which the key is another
    ],
)
def test_verify_refuses_a_record_without_a_field(copied: World, tmp_path: Path, field: str, expected: str) -> None:
    def drop(record: dict[str, Any]) -> None:
        del record["cell"][field]

    assert expected in _verify(copied, _changed(copied, tmp_path, drop, key=True, digest=True)).error


def test_verify_says_what_is_no_record(copied: World, tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for what, expected in (
        ("feedbeef", "no record has a key that begins with 'feedbeef'"),
        (tmp_path / "none.json", "no record file"),
        (tmp_path / "text.json", "text.json is not a record: "),
        (tmp_path / "bytes.json", "bytes.json is not a record: "),
        ("", "key is empty: give it a value"),
    ):
        assert expected in _verify(copied, what).error


def test_verify_asks_for_more_of_a_key_that_several_share(copied: World) -> None:
    record = next(iter(copied.records().values()))
    cells = ({**record.cell, "seed": seed} for seed in range(1000, 2000))
    alike = next(cell for cell in cells if key_of(cell)[0] == record.key[0])
    RecordStore(copied.results).write(replace(record, key=key_of(alike), cell=alike))
    assert f"records have keys that begin with {record.key[0]!r}" in _verify(copied, record.key[0]).error


# -- strangers' methods --------------------------------------------------------------------------------------


def _check(world: World, file: Path, tiny_model: Path) -> object:
    return command("check", file, "--model", tiny_model, "--cache-dir", world.cache)


def test_check_keeps_a_good_method(world: World, tiny_world: SimpleNamespace, tmp_path: Path) -> None:
    answer = _check(world, write_plugin(tmp_path), tiny_world.model)
    assert answer.status == 0 and "BROKEN" not in answer.out and "keeps the contract" in answer.out
    assert "forgetting heart" in answer.out and "forgetting dotted" in answer.out


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"body": "self.clip.model.ln_final.weight.mul_(2)"}, "changed ln_final.weight"),
        ({"body": "self.clip.model.visual.attnpool.v_proj.weight.mul_(2)"}, "changed visual.attnpool.v_proj.weight"),
        ({"body": "pass"}, "it changes a declared tensor"),
        ({"regime": "everything"}, "declares data regime 'everything'"),
        ({"edits": '"the brain"'}, "declares edits"),
        ({"source": ""}, "every hyperparameter has a source"),
        (
            {"body": "visual_projection(self.clip).weight.add_(torch.randn(()))"},
            "another seed gives the same weights",
        ),
        (
            {"body": "from datamodules.common.registry import open_dataset; "
             "open_dataset('shapes', None, self.data.cache_dir, 64).split('train').images.read([0])"},
            "RegimeViolationError",
        ),
        (
            {"body": "from datamodules.common.registry import open_dataset; "
             "open_dataset('shapes', None, self.data.cache_dir, 64).split('test').images.read([0])",
             "regime": "forget+retain"},
            "RegimeViolationError",
        ),
        ({"body": "visual_projection(self.clip).weight.mul_(float('nan'))"}, "DivergedError"),
        ({"body": "raise ValueError('no such thing')"}, "ValueError: no such thing"),
        (
            {"body": "steps = torch.optim.SGD([visual_projection(self.clip).weight], 0.1); "
             "steps.param_groups[0]['params'][0].grad = torch.ones_like(visual_projection(self.clip).weight); "
             "[steps.step() for _ in range(3)]"},
            "says stochastic=False, but took 3 gradient steps",
        ),
    ],
    ids=["text edit", "trunk edit", "idle", "regime", "edits", "no source", "chance", "train", "test", "nan", "raises",
         "steps"],
)  # fmt: skip
def test_check_names_the_broken_clause(
    world: World,
    tiny_world: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict,
    clause: str,
) -> None:
    monkeypatch.setattr(contract, "REQUESTS", contract.REQUESTS[:1])
    answer = _check(world, write_plugin(tmp_path, **changes), tiny_world.model)
    broken = [line for line in answer.out.splitlines() if line.startswith("BROKEN")]
    assert answer.status == 1 and any(clause in line for line in broken), answer.out + answer.err
    assert "clauses are broken" in answer.out


def test_check_shows_the_line_of_the_file_on_a_line_of_its_own(
    world: World, tiny_world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "REQUESTS", contract.REQUESTS[:1])
    file = write_plugin(tmp_path, body="raise ValueError('one' + chr(10) + 'two' + chr(27))")
    lines = _check(world, file, tiny_world.model).out.splitlines()
    (number,) = [n for n, line in enumerate(file.read_text().splitlines(), start=1) if "raise" in line]
    assert f"    {file.name}, line {number}, in edit: raise ValueError('one' + chr(10) + 'two' + chr(27))" in lines
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@dataclass(frozen=True)\n", ""),
        ('factor: float = hyper(0.5, low=0.0, source="a guess")', "factor: float = 0.5"),
        ("ClosedFormMethod[Hyperparameters]):", "):"),
        ("    card = CARD\n", ""),
        ("CARD = MethodCard(", "CARD = MethodCard(title2=1,"),
        ("import torch\n", "import torch_of_another_world\n"),
        ("class Stranger", "class class Stranger"),
        ('name="stranger"', 'name="someone"'),
        (SHRINK, "self.calls = globals().setdefault('calls', []); self.calls.append(0); 1 / (2 - len(self.calls))"),
    ],
    ids=["no dataclass", "no hyper", "no base", "no card", "bad card", "import", "syntax", "other name", "only once"],
)  # fmt: skip
def test_check_survives_a_broken_file(
    world: World, tiny_world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.setattr(contract, "REQUESTS", contract.REQUESTS[:1])
    path = write_plugin(tmp_path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    answer = _check(world, path, tiny_world.model)
    assert answer.status == 1 and "BROKEN" in answer.out and "Traceback" not in answer.err, answer.out + answer.err


def test_a_plugin_is_a_row_of_the_leaderboard(copied: World, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path)
    answer = copied.run("--plugin", plugin, "--methods", "original,stranger")
    assert answer.status == 0 and "stranger" in answer.out
    boards = json.loads(command("leaderboard", "--results", copied.results, "--format", "json").out)
    rows = [row for board in boards for row in board["rows"] if row["method"] == "stranger"]
    assert len(rows) == 2 and all(row["rank"] is not None and not row["reference"] for row in rows)
    assert "stranger" in command("list", "methods", "--plugin", plugin).out
    record = next(r for r in copied.records().values() if r.cell["method"] == "stranger")
    again = command("verify", record.key, "--results", copied.results, "--cache-dir", copied.cache, "--plugin", plugin)
    assert again.status == 0


# -- pretrain, download --------------------------------------------------------------------------------------


def test_pretrain_leaves_the_excluded_class_out(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.models.compact import load_compact
    from benchmark.pretraining import corpus, recipe, train
    from datamodules.common.registry import open_dataset
    from datamodules.shapes_world.vocabulary import SYNONYMS

    tiny = replace(TINY, further_cycles=(SHORT_CYCLE,))
    monkeypatch.setattr(recipe, "load_recipe", lambda name: tiny)
    read, texts = [], []

    class Spy(corpus.Corpus):
        def _make(self, batch: object, random: object, progress: float) -> object:
            read.extend(batch[:, 1].tolist())
            return super()._make(batch, random, progress)

    draw = corpus._Source.draw

    def spied(self: object, indices: object, random: object, progress: float) -> object:
        drawn = draw(self, indices, random, progress)
        texts.extend(drawn.texts)
        return drawn

    monkeypatch.setattr(train, "Corpus", Spy)
    monkeypatch.setattr(corpus._Source, "draw", spied)
    out = tmp_path / "tiny.safetensors"
    asked = ("pretrain", "tiny", "--out", out, "--cache-dir", world.cache, "--device", "cpu", "--precision", "fp32")
    answer = command(*asked, "--exclude", "{shapes: {classes: [star]}}")
    assert answer.status == 0 and "zero-shot accuracy" in answer.out, answer.err
    # the right answers of the left-out class and of the others add up to those of all
    shares = re.findall(r"^shapes[,:] (.+) ([0-9.]+) % of (\d+) test images$", answer.out, re.MULTILINE)
    assert [words.split()[0] for words, _, _ in shares] == ["zero-shot", "never", "all"] and "star" in shares[1][0]
    right = [float(share) / 100 * int(images) for _, share, images in shares]
    assert int(shares[0][2]) == int(shares[1][2]) + int(shares[2][2])
    assert right[0] == pytest.approx(right[1] + right[2], abs=0.1)
    split = open_dataset("shapes", None, world.cache, 32).split("train")
    star = open_dataset("shapes", None, world.cache, 32).label_of["star"]
    seen = set(split.labels[sorted(set(read))].tolist())
    assert star not in seen and len(seen) == 23
    assert texts and not [text for text in texts if any(w in text.split() for w in ("star", *SYNONYMS["star"]))]
    assert load_compact(out, "tiny").preprocessing.image_size == 32


def test_pretrain_refuses_to_exclude_from_an_unknown_data_set(world: World, tmp_path: Path) -> None:
    asked = ("pretrain", "shapes-resnet", "--out", tmp_path / "x.safetensors", "--cache-dir", world.cache)
    for exclude in ("{shape: {classes: [star]}}", "{shapes: {classes: [starr]}}", "{cifar100: {classes: [apple]}}"):
        assert exclude.split(":")[0].strip("{") in command(*asked, "--exclude", exclude).error


def test_download_of_a_generated_data_set_needs_nothing(tmp_path: Path) -> None:
    answer = command("download", "shapes", "--data-dir", tmp_path)
    assert answer.status == 0 and "needs no files" in answer.out and not list(tmp_path.iterdir())
    assert "did you mean 'cifar100'" in command("download", "cifar10").error
