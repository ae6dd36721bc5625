"""Published numbers: `results/published.yaml`, one section a paper, each with its grade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.utils.project import project_results
from datamodules.common.documents import load_yaml
from datamodules.common.errors import BenchmarkError

FILE = project_results() / "published.yaml"


def published(paper: str, file: Path = FILE) -> dict[str, Any]:
    """The section of a paper.

    Raises:
        BenchmarkError: If the file is missing or has no such section.
    """
    if not file.is_file():
        raise BenchmarkError(f"{file} is missing: restore it, or install the project again")
    content = load_yaml(file)
    if not isinstance(content, dict) or not isinstance(content.get(paper), dict):
        raise BenchmarkError(f"{file} has no section {paper!r}")
    return dict(content[paper])


def credit(section: dict[str, Any]) -> str:
    """Where the numbers are from, with their grade."""
    return f"{section['source']} (grade: {section['grade']})"
