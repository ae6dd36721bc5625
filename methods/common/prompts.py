"""Prompts from names and templates, for methods that need more than the zero-shot classifier."""

from __future__ import annotations

from collections.abc import Sequence


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every name in every template, template by template for each name.

    The empty name makes the neutral prompt: what a template says when it names nothing. It leaves no double space.
    """
    return [" ".join(template.format(name).split()) for name in names for template in templates]
