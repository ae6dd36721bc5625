"""The traps of this field that are not met elsewhere: keys, caches, clocks, counters, leaks, hidden failures."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, CONTEXT, SIDE, tiny_clip
from world import ROOT, SHORT, SHRINK, Answer, World, metrics_of, small_world, write_plugin, write_suite

from benchmark.evaluation import embeddings
from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.evaluate import Evaluation
from benchmark.execution.chosen_levels import chosen_levels
from benchmark.execution.process import clocks
from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.models import text_tower
from benchmark.models.loading import load_clip
from benchmark.records.cell import Cell
from benchmark.records.failures import Failure, Ledger
from benchmark.records.store import RecordStore
from benchmark.suites.expansion import expand
from benchmark.unlearning.cost import tower_flops
from datamodules.common.cache import save_array
from datamodules.common.code_closure import project_code
from datamodules.common.dataset import Dataset
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest
from methods.common.clip import state_hash
from methods.common.projections import visual_projection
from methods.common.registry import Registry

pytest_plugins = ("world",)
STAR = ForgetRequest(classes=("star",))


@pytest.fixture
def shapes(world: World) -> Dataset:
    return open_dataset("shapes", None, world.cache, 32)


def _runner(world: World, results: Path, plugins: tuple[Path, ...] = ()) -> CellRunner:
    plan = world.plan()
    registry = Registry(plugins)
    return CellRunner(registry, plan.where, RecordStore(results), Tracker(results), plugins)


# -- cell keys -----------------------------------------------------------------------------------------------


CELL = Cell(
    suite="quick", method="ccup", dataset="shapes", request=STAR, model="shapes-vit", seed=0, hparams={"a": 1.0},
    others=("shapes_colours",), precision="fp32", device="cpu", code="0" * 16,
    data_revisions={"shapes": "1"}, weights="compact:0", scale="small",
    by_request=("b",), measures=("cka",),
)  # fmt: skip
OTHER_VALUES = {
    "request": ForgetRequest(concept="star"),
    "seed": 1,
    "hparams": {"a": 2.0},
    "others": (),
    "data_revisions": {"shapes": "2"},
    "by_request": ("a", "b"),
    "measures": ("linear_probe",),
    "sequence": (ForgetRequest(classes=("star",)), ForgetRequest(classes=("ring",))),
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Cell)])
def test_every_field_is_in_the_key(field: str) -> None:
    other = dataclasses.replace(CELL, **{field: OTHER_VALUES.get(field, "something else")})
    assert other.key != CELL.key and field in {**CELL.identity(), **other.identity()}
    assert dataclasses.replace(other, **{field: getattr(CELL, field)}).key == CELL.key


def test_the_key_does_not_depend_on_the_order_of_names() -> None:
    one, two = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert dataclasses.replace(CELL, hparams=one).key == dataclasses.replace(CELL, hparams=two).key
    words = [ForgetRequest(concept="dog", words=w) for w in (("dog", "dogs"), ("dog", "puppy"))]
    assert len({dataclasses.replace(CELL, request=request).key for request in words}) == 2


def test_all_methods_meet_the_same_chance() -> None:
    same = [dataclasses.replace(CELL, **change) for change in ({"method": "lip"}, {"hparams": {}}, {"device": "cuda"})]
    assert {cell.random_seed() for cell in same} == {CELL.random_seed()}
    other = [dataclasses.replace(CELL, **change) for change in ({"seed": 1}, {"dataset": "x"}, {"model": "x"})]
    assert len({cell.random_seed() for cell in other} | {CELL.random_seed()}) == 4


def test_an_edited_plugin_changes_its_own_keys_only(world: World, tmp_path: Path) -> None:
    path = write_plugin(tmp_path)
    options = ("--plugin", path, "--methods", "original,nullspace,ccup,stranger")
    before = {(c.method, str(c.request)): c.key for c in world.plan(*options).cells}
    path.write_text(path.read_text().replace("mul_(self.h.factor)", "mul_(0.5 * self.h.factor)"))
    after = {(c.method, str(c.request)): c.key for c in world.plan(*options).cells}
    assert {name for name in before if before[name] != after[name]} == {n for n in before if n[0] == "stranger"}


@pytest.mark.parametrize(
    "statement",
    [
        "from methods import visual_projection",
        "from methods.common.projections import visual_projection",
        "from methods.projection import visual_projection",
        "from methods.common import projections",
        "import methods.common.projections",
    ],
)
def test_the_source_of_a_method_holds_what_it_imports(tmp_path: Path, statement: str) -> None:
    path = write_plugin(tmp_path)
    path.write_text(path.read_text().replace("from methods.common.projections import visual_projection", statement))
    if "visual_projection" not in statement:
        whole = "projections" if statement.startswith("from") else "methods.common.projections"
        path.write_text(path.read_text().replace("visual_projection(", f"{whole}.visual_projection("))
    assert "visual_projection" in project_code().places(path)[ROOT / "methods" / "common" / "projections.py"]


def test_images_made_for_a_method_are_in_its_source() -> None:
    sources = {path.name for path in project_code().places(ROOT / "methods" / "lip.py")}
    assert {"lip.py", "synthetic_images.py", "base.py"} <= sources
    assert "synthetic.py" in sources  # datamodules/common/synthetic.py draws the images that Lip learns from


# -- leaks between cells -------------------------------------------------------------------------------------


def test_the_order_of_cells_does_not_matter(world: World, tmp_path: Path) -> None:
    plan = world.plan("--methods", "random_noise,nullspace,cliperase", "--set", "cliperase.max_steps=2", "--seeds", "0")
    cells = [cell for cell in plan.cells if cell.request == STAR]
    found = []
    for number, order in enumerate((cells, cells[::-1])):
        # Features in a folder of their own, so that nothing is shared.
        runner = _runner(world, tmp_path / f"results{number}")
        runner.session._features["fp32"] = EmbeddingStore(None)
        torch.manual_seed(number)
        torch.set_grad_enabled(number == 0)
        try:
            found.append({cell.key: metrics_of(runner.run(cell)) for cell in order})
        finally:
            torch.set_grad_enabled(True)
    assert len(cells) == 3 and found[0] == found[1]


def test_a_cell_leaves_random_states_and_the_gradient_mode(world: World, tmp_path: Path) -> None:
    import random

    runner = _runner(world, tmp_path / "results")
    chosen = next(cell for cell in world.plan().cells if cell.method == "random_noise")
    runner.session.pristine(chosen.model)  # building a model draws its first weights, before any cell is seeded
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    runner.run(chosen)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert torch.is_grad_enabled()


def test_the_loaded_model_is_never_edited(world: World, tmp_path: Path) -> None:
    runner = _runner(world, tmp_path / "results")
    cell = next(cell for cell in world.plan().cells if cell.method == "random_noise")
    runner.run(cell)
    loaded, fresh = runner.session.pristine(cell.model)[0].model.state_dict(), load_clip(cell.model).model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in fresh.items())


# -- cost ----------------------------------------------------------------------------------------------------


def test_runtime_is_the_unlearning_alone(short_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = write_plugin(tmp_path, body="import time; time.sleep(0.2); visual_projection(self.clip).weight.mul_(0.5)")
    options = ("--plugin", plugin, "--methods", "stranger", "--keys")
    key = next(c.key for c in short_world.plan(*options[:-1]).cells)
    assert short_world.run("--methods", "original").status == 0
    measure = Evaluation.measure

    def slow(self: Evaluation, *args: object, **kwargs: object) -> object:
        time.sleep(1)
        return measure(self, *args, **kwargs)

    monkeypatch.setattr(Evaluation, "measure", slow)
    assert short_world.run(*options, key).status == 0
    cost = short_world.records()[key].cost
    assert 0.2 <= cost["unlearn_seconds"] < 0.8 and cost["evaluate_seconds"] >= 1
    assert 0 < cost["cpu_seconds"] < 0.15 + cost["unlearn_seconds"] - 0.2, "no processor worked while it slept"


@pytest.mark.parametrize("seconds", [50.0, -1000.0, float("nan")])
def test_a_method_has_no_say_in_its_cost(short_world: World, tmp_path: Path, seconds: float) -> None:
    body = f"self.reused_seconds = float('{seconds}'); visual_projection(self.clip).weight.mul_(0.5)"
    assert short_world.run("--plugin", write_plugin(tmp_path, body=body), "--methods", "stranger").status == 0
    spent = [r.cost["unlearn_seconds"] for r in short_world.records().values() if r.cell["method"] == "stranger"]
    assert spent and all(0 < seconds < 20 for seconds in spent)


@pytest.mark.parametrize("clock", ["perf_counter", "process_time"])
def test_a_clock_that_a_method_stops_is_found_out(
    short_world: World, tmp_path: Path, clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside its process a method can do what it likes; how long that process worked is seen from outside too."""
    monkeypatch.setattr(clocks, "CLOCK_SECONDS", 0.1)
    start = f"import time; start, told = time.process_time(), time.{clock}(); {SHRINK}"
    work = f"while time.process_time() < start + 0.6: pass\n        time.{clock} = lambda: told"
    plugin = write_plugin(tmp_path, body=f"{start}\n        {work}")
    answer = short_world.run("--plugin", plugin, "--methods", "stranger", "--seeds", "0")
    assert answer.status == 1 and "says that it took" in answer.err


def _vit_flops(tokens: int, width: int, layers: int) -> int:
    """Of transformer blocks: qkv and output projections, scores and weighted sums, an MLP of four widths."""
    return layers * (
        2 * tokens * width * 4 * width + 2 * 2 * tokens * tokens * width + 2 * 2 * tokens * width * 4 * width
    )


def test_flops_of_the_towers_equal_the_closed_form() -> None:
    clip = tiny_clip("vit")
    vision, text, width = ARCHITECTURES["vit"].vision, ARCHITECTURES["vit"].text, ARCHITECTURES["vit"].embed_dim
    patches = (SIDE // vision["patch_size"]) ** 2
    stem = 2 * patches * 3 * vision["patch_size"] ** 2 * vision["width"]
    image = stem + _vit_flops(patches + 1, vision["width"], vision["layers"]) + 2 * vision["width"] * width
    words = _vit_flops(CONTEXT, text["width"], text["layers"]) + 2 * text["width"] * width
    assert tower_flops(clip) == pytest.approx((image, words), rel=0.02)
    clip.model.train()
    assert tower_flops(clip) == pytest.approx((image, words), rel=0.02)


def test_flops_of_a_resnet_tower_are_counted(tiny_world: SimpleNamespace) -> None:
    for clip in (tiny_clip("resnet"), load_clip(str(tiny_world.model))):
        image, words = tower_flops(clip)
        assert image > 1e5 and words > 1e5


# -- the reference row ---------------------------------------------------------------------------------------


def test_doing_nothing_scores_what_the_formula_says(finished: World) -> None:
    rows = [record for record in finished.records().values() if record.cell["method"] == "original"]
    assert len(rows) == 2
    for record in rows:
        assert record.metrics["score/kravets"].value == pytest.approx(1 / 3, abs=1e-12)
        assert record.cost["edited_bytes"] == 0 and record.references == {"original": record.key, "retrain": None}


def test_doing_nothing_changes_no_number(world: World, tmp_path: Path) -> None:
    runner = _runner(world, tmp_path / "results", (write_plugin(tmp_path, body="pass"),))
    plan = world.plan("--plugin", tmp_path / "stranger.py", "--methods", "original,stranger")
    original, idle = (next(c for c in plan.cells if c.method == name) for name in ("original", "stranger"))
    assert metrics_of(runner.run(original)) == metrics_of(runner.run(idle))


# -- embeddings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["resnet", "vit"])
@pytest.mark.parametrize("batch", [1, 7])
def test_scores_do_not_move_with_the_batch_size(
    shapes: Dataset, kind: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tiny_clip(kind)
    whole, split = EmbeddingStore(None, image_batch=10_000), EmbeddingStore(None, image_batch=batch)
    torch.testing.assert_close(
        split.images(clip, shapes, "test"), whole.images(clip, shapes, "test"), atol=1e-4, rtol=0
    )
    one = Evaluation(shapes, STAR, (), whole).measure(clip, before=None)
    monkeypatch.setattr(text_tower, "BATCH", 10 * batch)
    two = Evaluation(shapes, STAR, (), split).measure(clip, before=None)
    assert all(two[name].value == pytest.approx(one[name].value, abs=1e-4) for name in one)


def test_weights_that_stay_are_hashed_once(shapes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, store, hashed = tiny_clip("resnet"), EmbeddingStore(None), list[str]()
    monkeypatch.setattr(embeddings, "state_hash", lambda *given: hashed.append("") or state_hash(*given))
    with store.fixed(clip):
        before = store.texts(clip, ["a", "b"])
        store.images(clip, shapes, "test")
        store.images(clip, shapes, "test"), store.texts(clip, ["c"])
        assert len(hashed) == 2
        store.texts(clip.copy(), ["a"])
        assert len(hashed) == 3, "another model is not the fixed one"
    with torch.no_grad():
        clip.model.token_embedding.weight.neg_()
    with store.fixed(clip):
        assert not torch.equal(store.texts(clip, ["a", "b"]), before), "the next block hashes anew"


def test_batches_shrink_until_they_fit_the_memory(shapes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, sizes = tiny_clip("resnet"), list[int]()
    expected = EmbeddingStore(None).images(clip, shapes, "test")
    encode = clip.encode_image

    def small_memory(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(images)

    monkeypatch.setattr(clip, "encode_image", small_memory)
    fits = 20
    found = EmbeddingStore(None, image_batch=64).images(clip, shapes, "test")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert sizes[:3] == [64, 32, 16] and set(sizes[3:-1]) <= {16} and sum(sizes[2:]) == len(expected)
    fits = 0
    with pytest.raises(torch.OutOfMemoryError):
        EmbeddingStore(None, image_batch=4).images(clip, shapes, "test")


def test_the_original_is_embedded_once(tiny_world: SimpleNamespace, shapes: Dataset, tmp_path: Path) -> None:
    clip, store = load_clip(str(tiny_world.model)), EmbeddingStore(tmp_path)
    evaluation = Evaluation(shapes, STAR, (), store)
    first = evaluation.measure(clip, before=None, keep=True)
    passes = store.computed
    assert evaluation.measure(clip.copy(), before=None, keep=True) == first and store.computed == passes
    fresh = EmbeddingStore(tmp_path)
    fresh.images(clip, shapes, "test", keep=True)
    assert fresh.computed == 0


def test_an_edited_projection_costs_no_pass(tiny_world: SimpleNamespace, shapes: Dataset) -> None:
    clip, store = load_clip(str(tiny_world.model)), EmbeddingStore(None)
    before = store.images(clip, shapes, "test", keep=True)
    edited = clip.copy()
    with torch.no_grad():
        visual_projection(edited).weight.mul_(torch.linspace(0.5, 2, 32)[:, None])
    after = store.images(edited, shapes, "test", keep=True)
    assert store.computed == 1 and not torch.allclose(before, after)
    torch.testing.assert_close(after, EmbeddingStore(None).images(edited, shapes, "test"), atol=1e-5, rtol=0)


def test_an_edited_trunk_and_an_edited_text_tower_are_seen(tiny_world: SimpleNamespace, shapes: Dataset) -> None:
    store = EmbeddingStore(None)
    for name in ("visual.layer1.0.conv1.weight", "visual.layer1.0.bn1.running_var", "ln_final.bias"):
        clip = load_clip(str(tiny_world.model))
        evaluation = Evaluation(shapes, STAR, (), store)
        evaluation.measure(clip, before=None, keep=True)
        passes = store.computed
        clip.model.state_dict()[name].add_(0.5)
        evaluation.measure(clip, before=None, keep=True)
        assert store.computed > passes, name


def test_tampered_features_come_back_and_deleted_ones_are_made_again(
    tiny_world: SimpleNamespace, shapes: Dataset, tmp_path: Path
) -> None:
    clip = load_clip(str(tiny_world.model))
    true = EmbeddingStore(tmp_path).images(clip, shapes, "test", keep=True)
    (file,) = tmp_path.glob("*.npy")
    save_array(file, np.zeros_like(np.load(file)) + np.arange(256, dtype=np.float32))
    store = EmbeddingStore(tmp_path)
    tampered = store.images(clip, shapes, "test", keep=True)
    assert store.computed == 0 and torch.allclose(tampered, tampered[:1].expand_as(tampered))
    file.unlink()
    store = EmbeddingStore(tmp_path)
    assert torch.equal(store.images(clip, shapes, "test", keep=True), true) and store.computed == 1


def test_features_of_edited_trunks_are_not_kept(short_world: World, tmp_path: Path) -> None:
    own = World(short_world.suite, tmp_path / "cache", short_world.results)
    assert own.run("--methods", "original", "--seeds", "0").status == 0
    kept = {path.name for path in (tmp_path / "cache" / "features").iterdir()}
    assert len(kept - set(chosen_levels())) == 2  # one a data set
    assert own.run("--methods", "random_noise,nullspace", "--seeds", "0").status == 0
    assert {path.name for path in (tmp_path / "cache" / "features").iterdir()} == kept


def test_a_half_written_feature_file_is_made_again(
    tiny_world: SimpleNamespace, shapes: Dataset, tmp_path: Path
) -> None:
    clip = load_clip(str(tiny_world.model))
    true = EmbeddingStore(tmp_path).images(clip, shapes, "test", keep=True)
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:200])
    assert torch.equal(EmbeddingStore(tmp_path).images(clip, shapes, "test", keep=True), true)


# -- failures ------------------------------------------------------------------------------------------------


BODIES = {
    "raises": ("raise RuntimeError('broken on purpose')", "RuntimeError", "broken on purpose"),
    "nan": ("visual_projection(self.clip).weight.fill_(float('nan'))", "DivergedError", "not finite"),
    "undeclared": ("self.clip.model.ln_final.weight.mul_(2)", "ContractError", "ln_final.weight"),
    "thief": (
        "from datamodules.common.registry import open_dataset; "
        "open_dataset('shapes', None, self.data.cache_dir, 32).split('train').images.read([0])",
        "RegimeViolationError",
        "data regime 'none'",
    ),
    "exits": ("import sys; sys.exit(0)", "SystemExit", "the method raised SystemExit(0)"),
    "exits_plainly": ("exit(0)", "SystemExit", "the method raised SystemExit(0)"),
    "closes": ("raise GeneratorExit", "GeneratorExit", "the method raised GeneratorExit"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt", "the method raised KeyboardInterrupt"),
    "leaves": ("import os; os._exit(0)", "ProcessError", "ended without a result (exit status 0)"),
    "dies": ("import ctypes; ctypes.string_at(0)", "ProcessError", "ended by signal 11"),
    "stops": ("raise StopIteration", "StoppedEarlyError", "StopIteration was raised in"),
}


@pytest.fixture(scope="module")
def broken(
    tiny_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[World, Answer, dict[str, Failure]]:
    """One run of every broken method, between one that is not broken and another; its failures by method."""
    folder = tmp_path_factory.mktemp("broken")
    plugins = ",".join(str(write_plugin(folder, kind, body=body)) for kind, (body, _, _) in BODIES.items())
    with small_world():
        world = World(write_suite(folder, tiny_world.model, SHORT), tiny_world.cache, folder / "results")
        answer = world.run("--plugin", plugins, "--methods", ",".join(("original", *BODIES, "nullspace")))
        cells = world.plan("--plugin", plugins, "--methods", ",".join(("original", *BODIES, "nullspace"))).cells
    failures = Ledger(world.results).failures()
    return world, answer, {cell.method: failures[cell.key] for cell in cells if cell.key in failures}


def test_failing_cells_stop_no_other(broken: tuple[World, Answer, dict[str, Failure]]) -> None:
    world, answer, failures = broken
    assert answer.status == 1 and f"2 cells run, 0 were done, {len(BODIES)} failed" in answer.out
    assert {r.cell["method"] for r in world.records().values()} == {"original", "nullspace"}
    assert set(failures) == set(BODIES) and "failures.jsonl" in answer.err


@pytest.mark.parametrize("kind", BODIES)
def test_a_failing_cell_is_not_hidden(broken: tuple[World, Answer, dict[str, Failure]], kind: str) -> None:
    _, error, message = BODIES[kind]
    _, answer, failures = broken
    assert failures[kind].error == error and message in failures[kind].message
    assert "Traceback (most recent call last)" in failures[kind].traceback and error in failures[kind].traceback
    told = " ".join(answer.err.split())
    assert f"{kind} forgets" in told and message in told


def test_a_mended_method_runs_and_a_failed_cell_is_tried_again(short_world: World, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, body="raise RuntimeError('broken on purpose')")
    options = ("--plugin", plugin, "--methods", "original,stranger")
    assert short_world.run(*options).status == 1 and short_world.run(*options).status == 1
    assert len((short_world.results / "failures.jsonl").read_text().splitlines()) == 2
    write_plugin(tmp_path, "mended")
    assert short_world.run("--plugin", tmp_path / "mended.py", "--methods", "original,mended").status == 0


def test_a_plugin_edited_between_runs_of_a_process_is_imported_anew(short_world: World, tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path, body="raise RuntimeError('broken on purpose')")
    options = ("--plugin", plugin, "--methods", "original,stranger")
    assert short_world.run(*options).status == 1
    write_plugin(tmp_path)
    assert short_world.run(*options).status == 0


def test_ctrl_c_within_an_unlearning_ends_the_run_and_keeps_what_is_done(short_world: World, tmp_path: Path) -> None:
    import signal

    mark = tmp_path / "unlearning"
    plugin = write_plugin(tmp_path, body=f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)")

    def interrupt() -> None:
        while not mark.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    handler = signal.getsignal(signal.SIGINT)
    try:
        answer = short_world.run("--plugin", plugin, "--methods", "original,stranger")
        restored = signal.getsignal(signal.SIGINT) == handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert {r.cell["method"] for r in short_world.records().values()} == {"original"}
    assert answer.status == 130 and "go on with:" in answer.out and restored


def test_a_plan_names_no_cell_twice(world: World) -> None:
    plan = world.plan("--methods", "random_noise,random_noise", "--seeds", "0,0")
    assert len({cell.key for cell in plan.cells}) == len(plan.cells)
    assert len(expand(plan.suite, plan.registry, plan.where)) == len(plan.cells)
