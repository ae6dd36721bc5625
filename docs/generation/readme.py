"""`python -m docs.generation.readme`: the README's table, sentences and picture, made from the reference records."""

from __future__ import annotations

import re
import sys

from docs.generation.boards import HEADLINE_SUITE, PHOTOGRAPHS, ROOT, findings_of, headline_table, in_short
from docs.generation.picture import picture

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "assets" / "what-is-left.svg"
PARTS = {
    "table": headline_table,
    "findings": lambda: findings_of(HEADLINE_SUITE),
    "photographs": lambda: in_short(PHOTOGRAPHS, HEADLINE_SUITE),
}
"""What stands between two lines `<!-- NAME: begin ... -->` and `<!-- NAME: end -->`."""


def readme_text() -> str:
    """The README with a table and sentences of the records as they are.

    Raises:
        LookupError: If the README has no place for one of them.
    """
    text = README.read_text(encoding="utf-8")
    for name, made in PARTS.items():
        place = re.compile(rf"(<!-- {name}: begin[^>]*-->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        if not place.search(text):
            raise LookupError(f"README.md has no lines <!-- {name}: begin --> and <!-- {name}: end -->")
        text = place.sub(lambda found, made=made: f"{found[1]}\n{made()}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


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
