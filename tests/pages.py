"""The README and the pages of docs/ as tests read them: code blocks, command lines, headings and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from benchmark.cli.parser import build_parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def pages() -> list[Path]:
    """Every page that a reader may open: those of the root and of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def code_blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of every `python -m benchmark ...` in bash blocks and inline code, continued lines joined."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    for line in [*lines, *re.findall(r"`(python -m benchmark [^`\n]+)`", text)]:
        for _, rest in re.findall(r"(^|&& |: )python -m benchmark (.*)$", line):
            arguments = shlex.split(re.split(r" && | \|\| ", rest)[0], comments=True)
            if arguments and arguments[0] != "COMMAND":
                yield arguments


def parse(arguments: list[str]) -> None:
    """Let the parser of the command line read a line; raises what a user would be told."""
    build_parser(arguments[0]).parse_args(arguments)  # a parser reads one line only


def headings(markdown: str) -> set[str]:
    """The anchors of a page's headings."""
    prose = re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return {slug(title) for title in re.findall(r"^#{1,6} (.+)$", prose, re.MULTILINE)}


def slug(title: str) -> str:
    """A heading as the anchor that MkDocs and GitHub give it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.strip().lower())).strip("-")


def links(markdown: str) -> list[str]:
    """The targets of links and pictures, outside code."""
    prose = re.sub(r"^ *```.*?^ *```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose))
