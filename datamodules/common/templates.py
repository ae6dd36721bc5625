"""Prompt templates that people write: each is a text with one {} for the name."""

from __future__ import annotations

import re

from datamodules.common.text import hidden_sign

_PLACE = re.compile(r"\{[^{}]*\}")
_SAMPLE = "a name"


def from_clip_benchmark(template: str) -> str:
    """A template of CLIP_benchmark's files, which write {c} for the name."""
    return template.replace("{c}", "{}")


def template_problem(template: str) -> str:
    """What is wrong with a prompt template, as the end of a sentence; empty where a name can be put into it.

    Args:
        template: A text such as "a photo of a {}."; braces of its own are doubled, as `str.format` reads them.
    """
    if sign := hidden_sign(template):
        return f"holds the sign {sign}, which is not shown: leave it out"
    places = _PLACE.findall(template.replace("{{", "").replace("}}", ""))
    if len(places) != 1:
        return f"needs one {{}} for the name, it has {len(places) or 'none'}"
    if places[0] not in ("{}", "{0}"):
        return f"needs {{}} for the name: write {{}} in the place of {places[0]}"
    try:
        filled = template.format(_SAMPLE)
    except (ValueError, IndexError, KeyError) as error:
        return f"has a brace too many ({error}): write {{{{ or }}}} for a brace, {{}} for the name"
    return "" if filled.count(_SAMPLE) == 1 else "needs one {} for the name"
