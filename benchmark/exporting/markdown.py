"""Text that others chose (names of classes, methods, models) as plain words of a Markdown page."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$!@])")


def plain(text: object) -> str:
    """A text that shows as it is and does nothing: no markup, no links, no line breaks, no hidden characters."""
    shown = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in str(text))
    shown = " ".join(shown.split())
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]}..."
    return _unlinked(_SPECIAL.sub(r"\\\1", shown))


def _unlinked(text: str) -> str:
    """Web addresses would become links by themselves: an escaped colon or dot after "www" ends that."""
    text = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1\\:", text)
    return re.sub(r"(?i)\bwww\.", r"www\\.", text)
