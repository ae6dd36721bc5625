"""MkDocs calls this: it fills the generated blocks of each page, draws the formulas, and adds two pages of the root."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path: the project's packages must be found beside it

ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files that readers look for in the root, and the pages that they become."""
_formulas: dict[str, list[str]] = {}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are files of the root; links into docs/ become links between pages."""
    from mkdocs.structure.files import File

    for name, page in ROOT_PAGES.items():
        text = re.sub(r"\]\(docs/", "](", (ROOT / name).read_text(encoding="utf-8"))
        for linked, target in ROOT_PAGES.items():
            text = text.replace(f"]({linked})", f"]({target})")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the blocks and set the formulas aside."""
    from docs.generation.blocks import fill
    from docs.generation.formulas import set_aside

    text, _formulas[page.file.src_uri] = set_aside(fill(markdown))
    return text


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Put the formulas back."""
    from docs.generation.formulas import put_back

    return put_back(html, _formulas.pop(page.file.src_uri, []))
