"""TorchScript archives: the tensors are read, and no code of the archive is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from openai_weights import write_archive
from torch import Tensor, nn

from benchmark.models.checkpoints import read_state_dict
from benchmark.models.tensor_files import WeightsError

STATE = {
    "visual.conv1.weight": torch.arange(24.0).view(2, 3, 2, 2),
    "visual.proj": torch.arange(12.0).view(3, 4).half(),
    "transposed": torch.arange(12.0).view(3, 4).t(),
    "a.b.c.counter": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "bf16": torch.ones(3, dtype=torch.bfloat16),
}


class Attack(nn.Module):
    """Writes a file when an archive of it is loaded."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.register_buffer("weight", torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, Tensor, bool]:
        return self.target, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
        self.target = state[0]
        self.weight = state[1]
        self.training = state[2]
        torch.save(self.weight, self.target)

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_the_tensors_are_those_of_the_archive(tmp_path: Path) -> None:
    write_archive(STATE, tmp_path / "w.pt")
    found = read_state_dict(tmp_path / "w.pt")
    assert set(found) == set(STATE)
    for name, value in torch.jit.load(tmp_path / "w.pt").state_dict().items():
        assert torch.equal(found[name], value) and found[name].dtype == STATE[name].dtype, name


def test_code_of_an_archive_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "written"
    torch.jit.save(torch.jit.script(Attack(str(target))), tmp_path / "w.pt")
    torch.jit.load(tmp_path / "w.pt")
    assert target.exists(), "the archive attacks those who load it"
    target.unlink()
    with pytest.raises(WeightsError, match="no state dict"):
        read_state_dict(tmp_path / "w.pt")
    assert not target.exists()
