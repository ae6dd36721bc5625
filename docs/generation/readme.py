"""`python -m docs.generation.readme`: the README's table and picture, made again from the reference records."""

from __future__ import annotations

import re
import sys

from docs.generation.boards import ROOT, headline_table
from docs.generation.picture import picture

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "assets" / "what-is-left.svg"
_TABLE = re.compile(r"(<!-- table: begin[^>]*-->\n).*?(<!-- table: end -->)", re.DOTALL)


def readme_text() -> str:
    """The README with a table of the records as they are.

    Raises:
        LookupError: If the README has no place for the table.
    """
    text = README.read_text(encoding="utf-8")
    if not _TABLE.search(text):
        raise LookupError("README.md has no lines <!-- table: begin --> and <!-- table: end -->")
    return _TABLE.sub(lambda place: f"{place[1]}\n{headline_table()}\n\n{place[2]}", text)


def main() -> int:
    """Write both files and name what changed."""
    for path, text in ((README, readme_text()), (PICTURE, picture())):
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old != text:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'as it was' if old == text else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
