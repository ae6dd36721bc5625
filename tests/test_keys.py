"""What changes a number changes its key, or makes its family of measures stale, and nothing else does."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from code_edits import (
    METHODS,
    ROOMS,
    Definition,
    code,
    definitions,
    digests,
    members,
    mutated,
    reworded,
    sources,
)
from world import ROOT, World, command, small_world

from benchmark.evaluation.families import FAMILIES
from benchmark.execution.process.unlearner import Work
from benchmark.execution.references import References
from benchmark.execution.runner import CellRunner, evaluate_cell
from benchmark.execution.session import work_of
from benchmark.execution.tracking import Tracker
from benchmark.records.record import without_folder
from benchmark.records.store import RecordStore
from benchmark.suites.digests import SHOWS, Digests, family_code
from benchmark.unlearning.unlearn import Unlearned, unlearn
from datamodules.common.code_closure import KEEPING, Code, project_code
from datamodules.common.code_modules import CodeError
from datamodules.common.handed import HandedDataset, parts_of, write_names, write_part
from datamodules.common.meaning import meaning_of
from methods.common.card import resolve
from methods.common.registry import NOT_COUNTED, import_method

pytest_plugins = ("world",)
SCORES_FILE = ROOT / "benchmark" / "evaluation" / "numerics" / "metrics.py"
UNLEARN_FILE = ROOT / "benchmark" / "unlearning" / "unlearn.py"


# -- the meaning of code ---------------------------------------------------------------------------------------------


def meaning(text: str) -> str:
    return meaning_of(ast.parse(text).body).text


CODE = """
@dataclass
class A:
    size: int = 3

    def f(self, x, *, y=1):
        if x < y and self.size:
            return [x + n for n in range(3)]
        raise ValueError(f"{x} is small")
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class A:\n", 'class A:\n    """What it is."""\n'),
        ("class A:\n", "class A:  # a comment\n"),
        ("size: int", "size: float"),
        ("(self, x, *, y=1)", "(self: A, x: int, *, y: int = 1) -> list[int]"),
        ("[x + n for n in range(3)]", "[\n        x + n\n        for n in range(3)\n    ]"),
        ("is small", "is too small"),
        ("@dataclass\n", "if TYPE_CHECKING:\n    from a import b\n@dataclass\n"),
        ("@dataclass\n", "from __future__ import annotations\nimport math\n@dataclass\n"),
    ],
)
def test_words_and_annotations_mean_nothing(old: str, new: str) -> None:
    assert old in CODE and meaning(CODE.replace(old, new)) == meaning(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size: int = 3", "size: int = 4"),
        ("size: int = 3", "size = 3"),
        ("size: int", "size: ClassVar[int]"),
        ("y=1", "y=2"),
        ("*, y=1", "y=1"),
        ("x < y", "x <= y"),
        ("and", "or"),
        ("x + n", "x - n"),
        ("range(3)", "range(3.0)"),
        ("@dataclass\n", "@dataclass(frozen=True)\n"),
        ("raise ValueError", "raise TypeError"),
        ("self.size", "not self.size"),
    ],
)
def test_what_code_does_means_something(old: str, new: str) -> None:
    assert old in CODE and meaning(CODE.replace(old, new)) != meaning(CODE)


def written(folder: Path, **files: str) -> Path:
    """A plugin's file and those beside it; `a__b` is `a/b.py`."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "start.py"


def test_what_a_name_stands_for_counts_though_import_statements_do_not(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "one.py").write_text("def f():\n    return 1\ndef g():\n    return 2\n")
    uses = "def start():\n    return use() + 10 * other()\n"

    def digest(imports: str) -> str:
        (tmp_path / "methods" / "two.py").write_text(imports + uses)
        return Code(tmp_path).digest("methods.two:start")

    plain = digest("from methods.one import f as use, g as other\n")
    assert digest("from methods.one import g as other\nfrom methods.one import f as use\n") == plain
    assert digest("from methods.one import g as use, f as other\n") != plain
    assert digest("from math import pi as use, e as other\n") != digest("from math import e as use, pi as other\n")


def test_what_is_not_used_does_not_count_but_what_an_import_runs_does(tmp_path: Path) -> None:
    def digest(helper: str) -> str:
        (tmp_path / "methods").mkdir(exist_ok=True)
        (tmp_path / "methods" / "one.py").write_text(helper)
        (tmp_path / "methods" / "two.py").write_text("from methods.one import f\ndef start():\n    return f()\n")
        return Code(tmp_path).digest("methods.two:start")

    plain = digest("def f():\n    return 1\n")
    assert digest("def f():\n    return 1\ndef unused():\n    return 5\n") == plain
    assert digest("TABLE = {}\ndef f():\n    return 1\n") == plain
    for other in (
        "import torch\ntorch.set_num_threads(1)\ndef f():\n    return 1\n",
        "def f():\n    return 1\nf.rate = 3\n",
        "def f():\n    return TABLE\nTABLE = {}\n",
        "def f():\n    return TABLE\nTABLE = {}\nTABLE['a'] = 1\n",
        "try:\n    import a\nexcept ImportError:\n    f = None\nelse:\n    from a import f\n",
    ):
        assert digest(other) not in (plain, None)
    assert digest("def f():\n    return TABLE\nTABLE = {}\n") != digest("def f():\n    return TABLE\nTABLE = {1: 2}\n")


# -- the project's code ----------------------------------------------------------------------------------------------


def test_other_words_everywhere_change_nothing() -> None:
    before = digests()
    changed = {path: reworded(text) for path, text in sources().items()}
    assert all(changed[path] != text for path, text in sources().items())
    with code(changed):
        assert digests() == before


def test_one_change_in_each_module_changes_what_uses_it_and_nothing_else() -> None:
    before, reached, chosen = digests(METHODS), frozenset().union(*members().values()), {}
    for definition in definitions():
        if definition in reached:
            chosen.setdefault(definition.path, definition)
    places = {path.relative_to(ROOT).as_posix() for path in chosen}
    assert (
        len(places) > 100
        and {"benchmark/unlearning/unlearn.py", "datamodules/common/images.py", "methods/common/base.py"} <= places
    )
    for definition in chosen.values():
        if (
            definition.path.parent == ROOT / "methods"
            and f"unlearns: {definition.path.stem}" in members().keys() - before
        ):
            continue  # the campaign (`tests/reliability/keys.py`) changes all methods
        with code({definition.path: mutated(definition)}):
            after = digests(METHODS)
        must = {name for name in before if definition in members()[name]}
        assert {name for name in before if before[name] != after[name]} == must, definition


def test_a_plugin_uses_what_it_imports_from_methods_and_no_more(tmp_path: Path) -> None:
    """`methods` hands its names on when they are asked for: the digest follows each to where it is defined."""
    wanted = ("class Stranger(ClosedFormMethod):\n    card = CARD\n", "CARD = MethodCard(name='stranger')\n")
    digests = []
    for place, card in (("methods", "methods"), ("methods.common.base", "methods.common.card")):
        path = tmp_path / card.replace(".", "_") / "stranger.py"
        path.parent.mkdir()
        imports = f"from {place} import ClosedFormMethod\nfrom {card} import MethodCard\n"
        path.write_text(imports + "".join(reversed(wanted)))
        files = {file.relative_to(ROOT).as_posix() for file in project_code().places(path) if file.is_relative_to(ROOT)}
        assert "methods/common/base.py" in files and "methods/common/task_vectors.py" not in files
        digests.append(project_code().digest(path, stops=NOT_COUNTED))
    assert digests[0] == digests[1]


def test_moved_files_and_functions_change_nothing(tmp_path: Path) -> None:
    """Every package of helpers gets another name, and one function another file: no digest is another one."""
    before = {start: project_code().digest(start, stops=STOPS) for start in STARTS}
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "weights", "report"))
    moves = {}
    for folder in sorted(path.parent for room in ROOMS for path in (tmp_path / room).glob("*/__init__.py")):
        old = ".".join(folder.relative_to(tmp_path).parts)
        moves[old] = f"{old}_moved"
        folder.rename(folder.with_name(f"{folder.name}_moved"))
    # One function goes to another file.
    statistics = tmp_path / "benchmark" / "utils_moved" / "statistics.py"
    tree = ast.parse(statistics.read_text())
    wilson = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "wilson")
    tree.body.remove(wilson)
    tree.body.insert(2, *ast.parse(OTHER).body)  # behind `from __future__`: what is left uses it
    statistics.write_text(ast.unparse(tree))
    imports = "import math\nfrom benchmark.utils.statistics import Z95\n"
    (tmp_path / "benchmark" / "intervals.py").write_text(imports + ast.unparse(wilson))
    names = re.compile(rf"\b({'|'.join(map(re.escape, moves))})(?=[.:\"\s])")
    for path in tmp_path.rglob("*.py"):
        text = path.read_text().replace("utils.statistics import wilson", "intervals import wilson")
        text = re.sub(r"(utils\.statistics import \w+), wilson", rf"\1; {OTHER}", text)
        path.write_text(names.sub(lambda match: moves[match[1]], text))
    moved = Code(tmp_path)
    stops = [names.sub(lambda match: moves[match[1]], stop) for stop in STOPS]
    for start, digest in before.items():
        assert moved.digest(names.sub(lambda match: moves[match[1]], start), stops=stops) == digest, start


OTHER = "from benchmark.intervals import wilson"
STOPS = (*KEEPING, *SHOWS)
STARTS = (
    *(f"methods.{name}" for name in ("ccup", "cliperase", "lip", "emmn", "nullspace", "ssd")),
    *("benchmark.unlearning.unlearn:unlearn", "benchmark.execution.process.unlearner:Unlearner"),
    *("benchmark.evaluation.evaluate:Evaluation", "benchmark.evaluation.embeddings:EmbeddingStore"),
    *(f"benchmark.evaluation.measures.{name}" for name in ("robust_score", "linear_probe", "membership")),
    *("benchmark.pretraining.train:pretrain", "datamodules.shapes", "datamodules.cifar100"),
)


def test_what_reports_is_in_no_digest() -> None:
    reached = {d.path.relative_to(ROOT).as_posix() for d in frozenset().union(*members().values())}
    shown = [f"{name}/" for name in ("cli", "report", "leaderboards", "speed", "exporting", "generation", "tuning")]
    shown += [f"execution/{name}.py" for name in ("progress", "tracking", "preview", "local", "ray")]
    shown += [f"records/{name}.py" for name in ("failures", "store", "lookup", "provenance")]
    assert all((ROOT / "benchmark" / name).exists() for name in shown)
    assert not [path for path in reached if path.startswith(tuple(f"benchmark/{each}" for each in shown))]


def test_a_start_that_is_gone_is_said() -> None:
    with pytest.raises(CodeError, match=r"no 'benchmark\.unlearning\.unlearn:forget'"):
        project_code().digest("benchmark.unlearning.unlearn:forget")


# -- what really runs ------------------------------------------------------------------------------------------------

AROUND = (
    *(
        "benchmark/execution/session.py",
        "benchmark/execution/chosen_levels.py",  # puts files into the cache under keys of all that has a say
        "benchmark/suites/expansion.py",
        "benchmark/suites/where.py",
        "benchmark/execution/references.py",
        "benchmark/models/registry.py",
    ),
    *(
        "benchmark/records/kept_outputs.py",
        "benchmark/execution/tracking.py",
        "benchmark/suites/digests.py",
        "benchmark/evaluation/families.py",
    ),
    *(
        "methods/common/registry.py",
        "methods/common/card.py",
        "methods/common/plugins.py",
        "datamodules/common/registry.py",
        "datamodules/common/card.py",
    ),
    *(
        "benchmark/records/cell.py",
        "benchmark/utils/kept_tensors.py",
        "benchmark/pretraining/identity.py",
        "benchmark/pretraining/kept.py",
    ),
)
"""What hands over models and data sets, resolves values that are in every key themselves, and keeps."""
AROUND_ALONE = frozenset(
    {
        "benchmark/models/loading.py: load_clip",  # hands over to the loader of a kind of model, which is in the digest
        "benchmark/models/naming.py: parse_model",
        "benchmark/models/naming.py: _beside_config",
        "benchmark/models/tokenizers.py: split_tokenizer",
        "benchmark/models/loading.py: weights_hash",  # for the record
        "datamodules/common/text.py: hidden_sign",  # refuses names; those that it lets pass stay as they are
    }
)
"""The same, of modules whose other definitions count."""


@contextmanager
def running() -> Iterator[set[Definition]]:
    """The definitions of the project that run in this thread."""
    rooms, found = tuple(str(ROOT / room) for room in ROOMS), set()

    def seen(frame: FrameType, event: str, _: Any) -> None:
        is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # the body of a class runs when it is imported
        if event == "call" and is_function and frame.f_code.co_filename.startswith(rooms):
            name = frame.f_code.co_qualname.partition(".")[0]
            if not name.startswith("<"):
                found.add(Definition(Path(frame.f_code.co_filename), name))

    sys.setprofile(seen)
    try:
        yield found
    finally:
        sys.setprofile(None)


def uncounted(ran: set[Definition], *names: str) -> list[str]:
    """What ran and is in none of some digests, nor left out of them by name."""
    reached = frozenset().union(*(members()[name] for name in names))
    left_out = {*AROUND, *(f"{each.replace('.', '/')}.py" for each in KEEPING if ":" not in each)}
    shown = {Definition(project_code().find(each.partition(":")[0]), each.partition(":")[2]) for each in SHOWS}
    rest = {str(each) for each in ran - reached - shown if each.path.relative_to(ROOT).as_posix() not in left_out}
    return sorted(rest - AROUND_ALONE)


def in_this_process(work: Work, folder: Path) -> Unlearned:
    """What the process that unlearns does, here, where it can be seen."""
    folder.mkdir(parents=True, exist_ok=True)
    write_names(work.dataset, folder / "names.json")
    parts = {}
    for part in parts_of(work.method.card.regime):
        write_part(work.dataset, work.request, part, folder / part)
        parts[part] = folder / part
    return unlearn(
        import_method(work.method.path, work.method.card),
        resolve(work.method.hyperparameters, work.clip.scale, work.hparams),
        work.clip.copy(),
        HandedDataset(folder / "names.json", parts),
        work.request,
        seed=work.seed,
        others=work.others,
        precision=work.precision,
        cache_dir=folder,
    )


@pytest.mark.parametrize("method", ["nullspace", "lip", "cliperase", "ssd", "scrub"])
def test_all_that_runs_while_a_method_unlearns_is_in_its_digest(method: str, world: World) -> None:
    options = "cliperase.max_steps=2,cliperase.batch_size=4,scrub.max_steps=2,scrub.batch_size=4,lip.max_steps=1"
    options += ",lip.images=2,lip.threshold=0.0,lip.tries=20"
    plan = world.plan("--methods", method, "--seeds", "0", "--set", options)
    cell = plan.cells[0]
    runner = CellRunner(plan.registry, plan.where, RecordStore(world.results), Tracker(None))
    with running() as ran:
        work = work_of(cell, runner.session)
        in_this_process(work, world.results)
    assert len(ran) > 10
    assert uncounted(ran, f"unlearns: {method}", "reads: shapes", "reads: shapes_colours") == []


def test_all_that_runs_while_a_cell_is_measured_is_in_the_families_digests(world: World) -> None:
    families = ("linear_probe", "image_retrieval_map", "true_name_rank", "confusion_audit", "damage", "paraphrases")
    plan = world.plan("--methods", "nullspace", "--seeds", "0")
    cell = replace(plan.cells[0], measures=families)
    runner = CellRunner(plan.registry, plan.where, RecordStore(world.results), Tracker(None))
    result = in_this_process(work_of(cell, runner.session), world.results)
    with running() as ran:
        evaluate_cell(cell, References("0" * 64, None), result, runner.session, "")
    counted = [f"measures: {name}" for name in ("base", "scores", *families)]
    assert len(ran) > 30
    kept = {Definition(ROOT / "benchmark" / "records" / "record.py", "Record")}
    assert uncounted(ran - kept, *counted, "unlearns: nullspace", "reads: shapes", "reads: shapes_colours") == []


# -- stale measures --------------------------------------------------------------------------------------------------


def edited(path: Path, old: str, new: str) -> dict[Path, str]:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    return {path: text.replace(old, new)}


def changed_by(changes: dict[Path, str]) -> set[str]:
    before = digests(METHODS)
    with code(changes):
        after = digests(METHODS)
    return {name for name in before if before[name] != after[name]}


TENFOLD = ("return (forget[1] / forget[0] + sum(drops))", "return 10 * (forget[1] / forget[0] + sum(drops))")


def test_a_score_times_ten_makes_the_scores_stale_and_no_key() -> None:
    assert changed_by(edited(SCORES_FILE, *TENFOLD)) == {"measures: scores", "measures: robust_score"}


def test_one_step_in_the_place_of_those_planned_changes_every_key_and_no_measure() -> None:
    found = changed_by(edited(UNLEARN_FILE, "curve.steps = method.planned_steps(data.sizes)", "curve.steps = 1"))
    assert found == {f"unlearns: {name}" for name in METHODS}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("methods/common/clip.py", "A CLIP as the methods", "The CLIP as the methods"),
        ("methods/lip.py", 'title="', 'title="The '),
        ("benchmark/evaluation/families.py", '"where the images of the class go"', '"where its images go"'),
        ("datamodules/flickr30k.py", "is not of the form name.jpg", "must be of the form name.jpg"),
    ],
)
def test_prose_changes_nothing(file: str, old: str, new: str) -> None:
    assert changed_by(edited(ROOT / file, old, new)) == set()


def no_unlearning(*_: Any, **__: Any) -> Any:
    raise AssertionError("a cell was unlearned again")


def test_the_folder_of_a_model_s_file_changes_no_key(short_world: World, tmp_path: Path) -> None:
    """As on two machines: the same file elsewhere is the same model, another file is not."""
    assert short_world.run("--methods", "original,random_noise", "--seeds", "1").status == 0
    model = Path(next(iter(short_world.records().values())).cell["model"])
    elsewhere = tmp_path / "elsewhere" / model.name
    elsewhere.parent.mkdir()
    shutil.copyfile(model, elsewhere)
    again = short_world.run("--methods", "original,random_noise", "--seeds", "1", "--model", elsewhere)
    assert again.status == 0 and "nothing to do" in again.out
    assert without_folder("ViT-B-16:/data/a.pt") == without_folder("ViT-B-16:b/a.pt") != without_folder("ViT-B-32:a.pt")
    assert without_folder("ViT-B-32/openai") == "ViT-B-32/openai" and without_folder("shapes-resnet") == "shapes-resnet"
    other = elsewhere.with_name("other.safetensors")
    keys = {cell.key for cell in short_world.plan("--model", elsewhere).cells}
    shutil.copyfile(model, other)
    assert keys.isdisjoint(cell.key for cell in short_world.plan("--model", other).cells)


@pytest.fixture
def mine(finished: World, tmp_path: Path) -> Iterator[World]:
    """A finished run of one's own."""
    shutil.copytree(finished.results, tmp_path / "results")
    with small_world():
        yield finished.with_results(tmp_path / "results")


def test_stale_scores_are_said_by_plan_and_made_again_from_the_records(
    mine: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.evaluation import evaluate

    before, count = mine.records(), len(mine.plan().cells)
    assert f"{count} done, 0 missing, 0 failed" in mine("plan").out and "older code" not in mine("plan").out
    original = evaluate.kravets
    monkeypatch.setattr(evaluate, "kravets", lambda **pairs: 10 * (original(**pairs) or 0))
    monkeypatch.setattr(CellRunner, "_unlearn", no_unlearning)
    with code(edited(SCORES_FILE, *TENFOLD)):
        answer = mine("plan")
        assert f"{count} cells: scores measured by older code" in answer.out
        assert f"{count} done, 0 missing, 0 failed" in answer.out and "done, stale" in answer.out
        noted = command("leaderboard", "--results", mine.results)
        assert f"note: {count} cells: scores measured by older code" in noted.err
        answer = mine.run()
        assert answer.status == 0 and f"{count} cells measured again by today's code" in answer.out
        assert "older code" not in mine("plan").out and "nothing to do" in mine.run().out
    after = mine.records()
    assert after.keys() == before.keys()
    for key, record in after.items():
        was = before[key].metrics
        assert record.metrics["score/kravets"].value == pytest.approx(10 * was["score/kravets"].value)
        assert {n: m for n, m in record.metrics.items() if n != "score/kravets"} == {
            n: m for n, m in was.items() if n != "score/kravets"
        }


def test_a_stale_base_is_measured_from_kept_weights_or_else_after_unlearning_again(
    mine: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--methods", "original,nullspace", "--seeds", "0")
    assert mine.run(*options, "--save-weights").status == 0
    before = mine.records()
    evaluate_file = ROOT / "benchmark" / "evaluation" / "evaluate.py"
    with code(edited(evaluate_file, "RECALLS = (1, 5, 10)", "RECALLS = (1, 10, 5)")), monkeypatch.context() as patch:
        patch.setattr(CellRunner, "_unlearn", no_unlearning)
        answer = mine.run(*options)
        assert answer.status == 0 and "base, scores measured again from kept weights" in " ".join(answer.err.split())
    assert {key: record.metrics for key, record in mine.records().items()} == {
        key: record.metrics for key, record in before.items()
    }
    for path in mine.results.rglob("*.safetensors"):
        path.unlink()
    again = mine.run(*options)  # today's code is the first one again
    assert again.status == 0 and "from unlearning again" in " ".join(again.err.split())


def test_a_family_that_needs_outputs_alone_is_measured_from_them(mine: World, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--results", mine.results, "--cache-dir", mine.cache)
    assert command("measure", "confusion_audit", *options).status == 0
    monkeypatch.setattr(CellRunner, "_unlearn", no_unlearning)
    audit = ROOT / "benchmark" / "evaluation" / "measures" / "confusion_audit.py"
    with code(edited(audit, "RECEIVERS = 5", "RECEIVERS = 6")):
        answer = command("measure", "confusion_audit", *options)
    assert answer.status == 0 and ", 0 from kept weights, 0 by unlearning again; " in answer.out
    assert not answer.out.startswith("nothing to do")


def test_a_family_reads_no_numbers_but_of_the_families_that_it_names() -> None:
    for name in FAMILIES:
        text = (ROOT / "benchmark" / "evaluation" / "measures" / f"{name}.py").read_text(encoding="utf-8")
        reads = any(f"context.{numbers}" in text for numbers in ("metrics", "before", "reference"))
        assert reads == bool(FAMILIES[name].reads) == FAMILIES[name].from_numbers


def test_the_digest_of_a_family_holds_those_whose_numbers_it_reads_and_its_data(tmp_path: Path) -> None:
    today = Digests(None, tmp_path, trainings=False)
    names = ("base", "scores", "linear_probe", "robust_score", "damage")
    before = today.families(names, "shapes", "shapes-resnet")
    probe = ROOT / "benchmark" / "evaluation" / "measures" / "linear_probe.py"
    definition = next(each for each in definitions() if each.path == probe)
    with code({probe: mutated(definition)}):
        after = today.families(names, "shapes", "shapes-resnet")
    assert {name for name in names if before[name] != after[name]} == {"linear_probe", "robust_score"}
    assert family_code("paraphrases", "shapes") != family_code("paraphrases", "cifar100")
    assert family_code("damage", "shapes") == family_code("damage", "cifar100")
