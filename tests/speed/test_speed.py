"""The command `speed`: what it prints and writes; its plain loops give what the suite gives."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import TinyDataset, random_images, tiny_clip
from world import command

from benchmark.records.lookup import cell_of
from benchmark.records.record import Record
from benchmark.records.store import REFERENCE, RecordStore
from benchmark.speed import evaluation, gradient_step, lip_step, package, report_page
from benchmark.speed.bench import Bench
from benchmark.speed.findings import LeftOutError, Side, SpeedFinding, alternate
from benchmark.speed.history import append, line_of, read_history, slower
from benchmark.speed.report import MEASUREMENTS, lines, module, summary
from datamodules.common.errors import BenchmarkError
from datamodules.common.request import ForgetRequest
from methods.lip import lipschitz_loss

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_has_a_module(name: str) -> None:
    assert callable(module(name).measure) and (module(name).__doc__ or "").startswith(f"{name}: ")


def test_two_sides_take_turns_and_each_warms_up() -> None:
    calls: list[str] = []
    medians = alternate(lambda: calls.append("a"), lambda: calls.append("b"), CPU, repeats=2)
    assert calls == ["a", "b"] * 3 and all(taken > 0 for taken in medians)


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [
        (2.0, {"least": 2.0}, True),
        (1.9, {"least": 2.0}, False),
        (0.3, {"most": 0.3}, True),
        (0.31, {"most": 0.3}, False),
        (1.0, {}, None),
    ],
)
def test_a_bound_is_met_or_missed(value: float, bounds: dict[str, float], met: bool | None) -> None:
    finding = SpeedFinding("something", (Side("a", 1.0, "images/s"),), value, **bounds)
    shown = "\n".join(lines(finding))
    assert finding.met is met and finding.to_dict()["met"] is met
    assert ("MISSED" in shown) == (met is False) and (": met" in shown) == (met is True)
    assert summary([finding], []).startswith(f"{int(met is True)} of {int(met is not None)} bounds met")


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_plain_loop_of_lip_has_the_loss_of_the_suite(kind: str) -> None:
    clip, images = tiny_clip(kind), random_images(3)
    prompt = "A picture of apple"
    noise = torch.randn(4 * 3, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    losses = []
    for loss in (lipschitz_loss, lip_step.plain_loss):
        with lip_step.same_noise(noise):
            losses.append(float(loss(clip, images, prompt, sigma=0.5, draws=4).detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert torch.randn_like(images).shape == images.shape


@pytest.mark.parametrize("name", ["graddiff", "cliperase"])
def test_the_plain_loops_of_gradient_methods_have_the_losses_of_the_suite(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a second step too, when weights have moved."""
    monkeypatch.setattr(gradient_step, "REQUEST", ForgetRequest(classes=("apple",)))
    monkeypatch.setattr(gradient_step, "PAIRS", 6)
    clip, dataset = tiny_clip("vit"), TinyDataset()
    method = getattr(gradient_step, name)(clip.copy(), dataset)
    rival, original = tiny_clip("vit", seed=1), method.original.model
    batch = next(gradient_step._batches(clip, dataset))
    plain = getattr(gradient_step, f"plain_{name}")
    for model in (clip, rival):
        method.clip.model.load_state_dict(model.model.state_dict())
        loss = plain(model.model, original, batch, clip.tokenize)
        assert float(method.training_step(batch, 0).detach()) == pytest.approx(float(loss.detach()), abs=1e-5)


def test_steps_are_timed_with_one_thread_on_a_cpu_and_the_threads_come_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError), gradient_step.one_thread(CPU):
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3
        with gradient_step.one_thread(torch.device("cuda")):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_suite_and_open_clip_evaluate_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "WORKERS", 0)
    clip, dataset = tiny_clip("resnet"), TinyDataset()
    split = dataset.split("test")
    assert split.labels is not None
    pixels, labels = clip.preprocessing(split.images.read(range(len(split.images)))), torch.from_numpy(split.labels)
    items = list(zip(pixels, labels.tolist(), strict=True))
    ours = evaluation.classify(clip, dataset, "fp32")
    images = package.FirstItems(items, len(items), dataset.class_names)
    assert package.classify_as_open_clip(clip, images, dataset.templates, "fp32") == {
        "acc1": pytest.approx(ours["acc1"])
    }
    with torch.no_grad():
        features = torch.nn.functional.normalize(clip.encode_image(pixels), dim=-1)
        predicted = (features @ clip.zero_shot_classifier(dataset.class_names, dataset.templates).T).argmax(1)
    recalls = [float((predicted[labels == label] == label).float().mean()) for label in labels.unique()]
    assert ours["mean_per_class_recall"] == pytest.approx(sum(recalls) / len(recalls)) and 0 < ours["acc1"] < 1


def test_the_share_that_stands_in_for_clip_benchmarks_is_of_all_images() -> None:
    logits, labels = torch.eye(4)[[0, 1, 2, 0]] + 0.1 * torch.eye(4)[[3, 3, 3, 3]], torch.tensor([0, 1, 0, 3])
    assert package._accuracy(logits, labels, (1, 2)) == [0.5, 0.75]
    assert package._right(logits, labels, (1, 2)) == [2.0, 3.0]


def test_a_history_says_what_became_slower(tmp_path: Path) -> None:
    about = {"device": "chip", "cores": 2, "threads": 2, "load_average": [0.1, 0.1, 0.1], "time": "2026-01-01"}

    def run(ratio: float, took: float, **machine: object) -> dict[str, object]:
        found = SpeedFinding("a step", (), ratio, least=1.5), SpeedFinding("a cell", (), took, "s", most=1.0)
        return line_of({**about, **machine}, {"some": [*found, SpeedFinding("memory", (), took, "MB")]})

    file = tmp_path / "history.jsonl"
    assert read_history(file) == []
    for line in (run(2.0, 0.5), run(9.0, 0.1, threads=1)):
        append(file, line)
    runs = read_history(file)
    assert len(runs) == 2 and runs[0]["values"]["some: a step"] == {"value": 2.0, "unit": "times", "higher": True}
    assert slower(runs, run(1.9, 0.55)) == [], "the same but for noise"
    first, second = slower(runs, run(1.2, 0.8))
    assert first.startswith("some: a step: 1.2 times, 2 at commit") and second.startswith("some: a cell: 0.8 s, 0.5 at")
    assert slower(runs, run(0.1, 9.0, device="another chip")) == []
    file.write_text("[1]\n")
    with pytest.raises(BenchmarkError, match="no file of `speed --history`"):
        read_history(file)


def test_what_cannot_be_measured_is_left_out_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(bench: object) -> None:
        raise LeftOutError("there is no moon tonight")

    monkeypatch.setattr(module("lip_step"), "measure", measure)
    file = tmp_path / "speed.json"
    answer = command("speed", "--only", "lip_step", "--cache-dir", tmp_path, "--json", file, "--device", "cpu")
    assert answer.status == 0 and "left out: there is no moon tonight" in answer.out
    content = json.loads(file.read_text())
    assert content["left_out"] == {"lip_step": "there is no moon tonight"} and content["findings"] == {}
    assert content["machine"]["threads"] == torch.get_num_threads()


def test_a_ceiling_is_measured_and_written(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    past = tmp_path / "history.jsonl"
    options = ("--cache-dir", tmp_path, "--json", file, "--history", past, "--device", "cpu")
    answer = command("speed", "--only", "ceiling", *options)
    assert answer.status == 0 and "matrix products" in answer.out
    (line,) = read_history(past)
    assert all(value["value"] > 0 for value in line["values"].values()) and len(line["values"]) >= 2
    assert all(finding["value"] > 0 for finding in json.loads(file.read_text())["findings"]["ceiling"])


def test_what_is_stopped_keeps_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(bench: object) -> Iterator[SpeedFinding]:
        yield SpeedFinding("a step", (), 2.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(module("lip_step"), "measure", stopped)
    file = tmp_path / "speed.json"
    with contextlib.suppress(KeyboardInterrupt):
        command("speed", "--only", "lip_step", "--cache-dir", tmp_path, "--json", file, "--device", "cpu")
    (finding,) = json.loads(file.read_text())["findings"]["lip_step"]
    assert finding["value"] == 2.0


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    assert "did you mean 'lip_step'" in command("speed", "--only", "lip_stop").error
    assert "there is no folder" in command("speed", "--json", tmp_path / "none" / "speed.json").error


def test_what_a_command_takes_is_that_of_the_command_alone() -> None:
    ballast = bytearray(400_000_000)
    ballast[::4096] = b"1" * len(ballast[::4096])
    taken, memory = report_page._command("list", "models")
    assert taken > 0 and 10 < memory < 350, "not of the process that asks"
    with pytest.raises(LeftOutError, match=r"ended with 2: .*no-such"):
        report_page._command("list", "no-such")
    assert ballast[0] == 49


def test_the_page_of_many_records_is_timed_and_weighed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report_page, "METHODS", 2)
    monkeypatch.setattr(report_page, "REQUESTS", 2)
    monkeypatch.setattr(report_page, "SEEDS", 1)
    monkeypatch.setattr(report_page, "some_cells", lambda *_: (Runner, [cell_of(RECORD)]))
    took, held, size = report_page.measure(Bench(CPU, tmp_path, tmp_path))
    assert took.what == "4 records of 2 methods" and (took.unit, held.unit, size.unit) == ("s", "MB", "MB")
    assert took.value > 0 and held.met and size.met and size.value > 0.1


RECORD = next(r for r in RecordStore(REFERENCE, older=True).all("quick") if r.cell["method"] == "original")


class Runner:
    """Gives the record."""

    @staticmethod
    def run(_: object) -> Record:
        return RECORD
