"""What a generation test found: one JSON file, and the table that is printed.

The file is `RESULTS/generation/KEY/RUN.json`: KEY is the cell's; RUN is a digest of settings, pipeline, judge and
device, so that another seed or judge stands beside it. It lies one folder deeper than records do, because a file
`*/KEY.json` would be taken for a (damaged) record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmark.generation.detection import detection_rate
from benchmark.generation.pipeline import Settings
from benchmark.generation.prompts import PARTS, Prompt
from benchmark.records.cell import Cell
from benchmark.records.provenance import package_versions
from benchmark.records.record import Metric
from benchmark.utils.project import git_commit
from benchmark.utils.table import Table, ends_text, number_text, render
from datamodules.common.kept_files import replace_file

FOLDER = "generation"
_SCHEMA = 1
_ARROWS = {"forget": "↓", "retain": "↑"}


@dataclass(frozen=True)
class GenerationReport:
    """One generation test of one cell.

    Attributes:
        cell: Whose unlearned text encoder was tested.
        settings: How the images were made.
        prompts: What was drawn.
        before: The judge's answer to each prompt, drawn with the original text encoder.
        after: Likewise with the unlearned one.
        pipeline: Name, sha256 of its files, and scheduler.
        judge: Name and weights of the judge.
        device: What the images were made on.
        notes: What the reader should know of this test.
    """

    cell: Cell
    settings: Settings
    prompts: tuple[Prompt, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    pipeline: dict[str, Any]
    judge: dict[str, str]
    device: str
    notes: tuple[str, ...] = ()

    @property
    def detection(self) -> dict[str, dict[str, Metric]]:
        """The detection rates: by part ("forget", "retain"), then "before" and "after"."""
        answers = {"before": self.before, "after": self.after}
        return {
            part: {when: detection_rate(self.prompts, seen, part) for when, seen in answers.items()} for part in PARTS
        }

    @property
    def run(self) -> str:
        """Names this test among those of the cell: 12 hexadecimal digits."""
        chosen = [self.cell.key, asdict(self.settings), self.pipeline["sha256"], self.judge, self.device]
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self, *, command: str) -> dict[str, Any]:
        """The report as JSON holds it, with the command line that repeats it."""
        detection = {part: {when: asdict(m) for when, m in rates.items()} for part, rates in self.detection.items()}
        versions = {name: version(name) for name in ("diffusers", "transformers")}
        return {
            "schema": _SCHEMA,
            "key": self.cell.key,
            "cell": self.cell.identity(),
            "detection": detection,
            "settings": asdict(self.settings),
            "provenance": {
                "pipeline": self.pipeline,
                "judge": self.judge,
                "packages": {**package_versions(), **versions},
                "git": git_commit(),
                "device": self.device,
                "command": command,
            },
            "notes": list(self.notes),
            "images": [
                {**asdict(prompt), "before": before, "after": after}
                for prompt, before, after in zip(self.prompts, self.before, self.after, strict=True)
            ],
        }

    def write(self, results: Path, *, command: str) -> Path:
        """Write the report below a results folder, whole or not at all, in place of one of the same run.

        Args:
            results: The folder of the records.
            command: The command line that repeats it.

        Raises:
            CannotWriteError: If the disk is full or refuses it.
        """
        path = results / FOLDER / self.cell.key / f"{self.run}.json"
        text = json.dumps(self.to_dict(command=command), sort_keys=True, indent=1, allow_nan=False) + "\n"
        replace_file(path, text.encode())
        return path

    def table(self) -> str:
        """The detection rates for a terminal, in per cent with 95 % intervals."""
        heads = ["detection rate, %", "images", "before", "after", "difference"]
        rows = []
        for part, rates in self.detection.items():
            before, after = rates["before"], rates["after"]
            gap = (after.value or 0.0) - (before.value or 0.0)
            texts = (str(before.n), _per_cent(before), _per_cent(after), number_text(gap, 100, 1, signed=True))
            rows.append([f"{part} {_ARROWS[part]}", *texts])
        title = f"{self.cell} · {self.cell.key[:12]}"
        return render([Table.of_texts(heads, rows, words=(0,), title=title)], "table").rstrip("\n")


def _per_cent(metric: Metric) -> str:
    low, high = metric.ci95 or (0.0, 1.0)
    return f"{number_text(metric.value or 0.0, 100, 1)} {ends_text(low, high, 100, 1)}"
