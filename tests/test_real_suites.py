"""The suites on real images, end to end with a tiny random CLIP: CIFAR-100 by class, Flickr30K by concept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from tiny_recipe import TINY

import benchmark.suites
from benchmark.__main__ import main
from benchmark.evaluation.measures import relearning
from benchmark.models.compact import VOCABULARY, save_compact

ARCHITECTURE = TINY.architecture
SUITES = Path(benchmark.suites.__file__).parent
REQUESTS = 2
"""Of each suite: the first ones."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_compact(path, ARCHITECTURE.build(), torch.arange(VOCABULARY), ARCHITECTURE, {})
    return path


@pytest.mark.parametrize(
    ("suite", "headline", "others"),
    [
        ("cifar100", "forget/acc1", ["caltech101", "flickr30k"]),
        ("flickr30k", "forget/mean_recall", ["cifar100", "caltech101"]),
    ],
)
def test_a_real_suite_runs_and_measures_everything(
    suite: str,
    headline: str,
    others: list[str],
    model: Path,
    real_data_dir: Path,
    real_cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relearning, "STEPS", 2)  # of an attack that no number here depends on
    content = yaml.safe_load((SUITES / f"{suite}.yaml").read_text())
    content["tasks"] = [{**task, "requests": task["requests"][:REQUESTS]} for task in content["tasks"][:1]]
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(content))
    arguments = [
        "run",
        "--suite",
        str(tmp_path / "first.yaml"),
        "--methods",
        "original,ccup,finetune_retain",
        "--seeds",
        "0",
    ]
    arguments += ["--model", str(model), "--data-dir", str(real_data_dir), "--cache-dir", str(real_cache_dir)]
    arguments += ["--seeds", "0", "--results", str(tmp_path), "--set", "finetune_retain.max_steps=2", "--device", "cpu"]
    assert main(arguments) == 0
    records = [json.loads(file.read_text()) for file in (tmp_path / "first").glob("*.json")]
    assert len(records) == 3 * REQUESTS
    for record in records:
        assert record["metrics"][headline]["n"] > 0
        assert record["cell"]["others"] == others
        assert str(real_data_dir) not in json.dumps(record)
        read = record["cost"]["items_read"]
        assert read == (48 if record["cell"]["method"] == "finetune_retain" else 0)
