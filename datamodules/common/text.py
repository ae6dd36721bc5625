"""Text from outside (class names, captions, titles, file names), made fit for a terminal and for one line."""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of signs that a terminal acts on or hides: controls, directions, surrogates, line ends."""
_JOINERS = frozenset("\u200c\u200d")
"""Signs of direction and joining that ordinary words of some languages need."""
_SUSPECT = re.compile(r"[^\x20-\x7e]")


def is_hidden(sign: str) -> bool:
    """Whether a terminal would act on a sign or hide it instead of showing it."""
    return sign not in _JOINERS and unicodedata.category(sign) in _HIDDEN


def printable(text: str) -> str:
    r"""A text on one line that no terminal acts on: signs that are not shown stand as escapes, such as \x1b."""
    return _SUSPECT.sub(lambda match: _shown(match[0]), text)


def one_line(text: str) -> str:
    """A message on one line: white space joined, signs that are not shown as escapes."""
    return printable(" ".join(text.split()))


def hidden_sign(text: str) -> str | None:
    """The first sign of a text that a terminal acts on or hides, as an escape; None where there is none."""
    return next((_shown(sign) for sign in _SUSPECT.findall(text) if is_hidden(sign)), None)


def _shown(sign: str) -> str:
    if not is_hidden(sign):
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
