"""What is taken from a process that unlearned: declared tensors and numbers that a run can have, nothing else."""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_clip

from benchmark.execution.process.child import Rank
from benchmark.execution.process.job import Answer, put_together
from benchmark.unlearning.unlearn import DivergedError
from methods.common.card import ContractError, MethodCard

CARD = MethodCard(name="some", title="some", paper="somebody 2026", regime="names", edits=("visual",))
ANSWER: dict[str, Any] = {
    "weights": "", "seconds": 1.0, "cpu_seconds": 2.0, "peak_memory_bytes": 10, "flops": 3, "items_read": 10,
    "items_distinct": 5, "report": {"level": 1}, "refused": [],
}  # fmt: skip


def _left(folder: Path, **changes: Any) -> Answer:
    (folder / "0.answer.json").write_text(json.dumps(ANSWER | changes))
    save_file({"visual.proj": torch.zeros(2)}, folder / "tensors.safetensors")
    return Answer.read(folder, 0)


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    answer = _left(tmp_path)
    answer.write(Rank(0, 1, tmp_path, cast(Connection, None)))
    assert vars(Answer.read(tmp_path, 0)) | {"tensors": 0} == vars(answer) | {"tensors": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": -1000.0}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"seconds": "1"}, {"seconds": 1},
        {"cpu_seconds": -1.0}, {"cpu_seconds": "1"}, {"cpu_seconds": float("nan")},
        {"flops": -1}, {"flops": 1.5}, {"peak_memory_bytes": -5}, {"items_read": None}, {"report": []},
        {"refused": [3]}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_no_run_can_have_are_an_error(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no result that can be read"):
        _left(tmp_path, **changes)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"[" * 100_000, b"{}", b"\xff"], ids=len)
def test_what_is_no_answer_is_an_error(content: bytes, tmp_path: Path) -> None:
    _left(tmp_path)
    (tmp_path / "0.answer.json").write_bytes(content)
    with pytest.raises(ContractError):
        Answer.read(tmp_path, 0)


def _given(tensors: dict[str, torch.Tensor], refused: tuple[str, ...] = (), card: MethodCard = CARD) -> Any:
    own = {**ANSWER, "tensors": tensors, "refused": refused}
    return put_together(card, tiny_clip("vit"), [Answer(**own)])


def test_declared_tensors_are_put_into_the_parents_model() -> None:
    proj = torch.full_like(tiny_clip("vit").model.visual.proj, 0.25)
    done = _given({"visual.proj": proj})
    assert torch.equal(done.clip.model.visual.proj, proj) and done.edited == ("visual.proj",)
    assert done.edited_bytes == proj.numel() * 4


@pytest.mark.parametrize(
    ("tensors", "error", "match"),
    [
        ({"ln_final.weight": torch.ones(16)}, ContractError, "changed ln_final.weight"),
        ({"visual.nothing": torch.ones(2)}, ContractError, "does not have"),
        ({"visual.proj": torch.ones(2)}, ContractError, "does not have"),
        ({"visual.proj": float("nan")}, DivergedError, "not finite"),
        ({"visual.proj": torch.float64}, ContractError, "does not have"),
    ],
    ids=["undeclared", "unknown", "another shape", "no numbers", "another type"],
)
def test_other_tensors_fail_the_cell(tensors: dict[str, Any], error: type[Exception], match: str) -> None:
    proj, made = tiny_clip("vit").model.visual.proj.detach(), dict[str, torch.Tensor]()
    width = tiny_clip("vit").model.ln_final.weight.shape
    for name, value in tensors.items():
        if isinstance(value, float):
            value = torch.full_like(proj, value)
        elif isinstance(value, torch.dtype):
            value = proj.to(value)
        made[name] = torch.ones(width) if name == "ln_final.weight" else value
    with pytest.raises(error, match=match):
        _given(made)


def test_only_reference_rows_may_refuse_names() -> None:
    with pytest.raises(ContractError, match="refuses names"):
        _given({}, refused=("apple",))
    with pytest.raises(ContractError, match="reference rows"):
        MethodCard(name="some", title="some", paper="somebody", regime="names", edits=("visual",), refuses=True)
