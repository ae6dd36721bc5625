r"""Formulas: LaTeX between $$ ... $$ or $`...`$ becomes MathML, which browsers draw by themselves, without a script."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\$`([^`]+)`\$")
_TOKEN = "MATHFORMULA{}X"


def set_aside(markdown: str) -> tuple[str, list[str]]:
    """Replace the formulas of a page by words that Markdown leaves alone.

    Args:
        markdown: A page; what stands in fenced blocks is no formula.

    Returns:
        The page and the MathML of each formula.
    """
    formulas: list[str] = []

    def block(match: re.Match[str]) -> str:
        formulas.append(convert(" ".join(match[1].split()), display="block"))
        return _TOKEN.format(len(formulas) - 1)

    def inline(match: re.Match[str]) -> str:
        formulas.append(convert(match[1]))
        return _TOKEN.format(len(formulas) - 1)

    parts, end = [], 0
    for fence in _FENCED.finditer(markdown):
        parts += [(markdown[end : fence.start()], True), (fence[0], False)]
        end = fence.end()
    parts.append((markdown[end:], True))
    page = "".join(_INLINE.sub(inline, _BLOCK.sub(block, text)) if prose else text for text, prose in parts)
    return page, formulas


def put_back(html: str, formulas: list[str]) -> str:
    """The page's HTML with its formulas in the places that were kept for them."""
    for number, formula in reversed(list(enumerate(formulas))):
        html = html.replace(_TOKEN.format(number), formula)
    return html
