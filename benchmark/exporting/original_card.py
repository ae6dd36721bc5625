"""The model card of a small CLIP of this project as it came: no record, nothing forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.exporting.card import usage
from benchmark.exporting.markdown import plain
from benchmark.pretraining.recipe import load_recipe
from datamodules.common.image_request import read_request


def original_card(about: Mapping[str, Any], trunk: str | None, hub: str = "") -> str:
    """The card, Markdown with a YAML head.

    Args:
        about: What the model's file says of its making: the recipe's name, seed, precision, pairs, what was left out.
        trunk: The module of the folder that must be imported first; None where open_clip needs none.
        hub: The repository of the hub that the folder goes to; empty where it stays here.
    """
    name = str(about["recipe"])
    recipe = load_recipe(name)
    left_out = ", ".join(
        f"{plain(read_request(request))} of {plain(dataset)}"
        for dataset, request in sorted(about.get("exclude", {}).items())
    )
    rows = [
        ("trained on", plain(", ".join(recipe.data)) + ", their train images alone"),
        ("left out of training", left_out or "nothing"),
        ("image-text pairs seen", f"{int(about['pairs']):,}"),
        ("seed and precision", f"{about['seed']}, {plain(about['precision'])}"),
    ]
    facts = "\n".join(f"- {what}: {value}" for what, value in rows)
    return f"""---
license: mit
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags:
- clip
- open_clip
---

# {plain(name)}: {plain(recipe.title.partition(" (")[0])}

A small CLIP that was trained from nothing by clip-unlearning-benchmark, for experiments in machine unlearning: it
can be trained again without a class in minutes.

## What it was trained on

{facts}

It knows little beyond these images and names. Not for people: no surveillance, no recognition of faces, no decision
about a person.

## How to load it

{usage(trunk, hub)}
"""
