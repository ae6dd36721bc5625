"""Whether a method can work on a model at all: what its card says that it edits or needs, and what the model has."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import get_args

from torch import nn

from methods.common.card import Edits, MethodCard, has_patterns
from methods.common.clip import Clip, is_text_block
from methods.common.projections import NoProjectionError, text_projection, visual_projection
from methods.common.served import NAMES

WHY_NOT = {
    "visual projection": "its image encoder does not end in a linear projection",
    "text projection": "its text encoder does not end in a linear projection",
    "text blocks": "its text encoder has no blocks of open_clip's",
    "token embeddings": "its text encoder has no token and positional embeddings of open_clip's",
}


def why_not(card: MethodCard, clip: Clip) -> str:
    """Why a method cannot work on a model, in words; empty where it can.

    Args:
        card: The method's.
        clip: The model; its weights are not looked at, so it may be on the device "meta".
    """
    for need in card.needs:
        if need != NAMES and not _has(clip, need):
            return WHY_NOT[need]
    lacking = {part: why for part in card.edits if (why := _lacks(clip, part))}
    if lacking and len(lacking) == len(card.edits) and not card.adds:
        return next(iter(lacking.values()))
    paths = [path for path, _ in clip.model.named_modules()]
    missing = [pattern for pattern in card.adds if not any(fnmatchcase(path, pattern) for path in paths)]
    return f"it has no module {missing[0]}" if card.adds and len(missing) == len(card.adds) else ""


def asks_of_model(card: MethodCard) -> bool:
    """Whether a card asks for a part that not every model has."""
    return has_patterns(card) or bool({*card.needs, *card.edits} & set(WHY_NOT))


def _lacks(clip: Clip, part: str) -> str:
    """Why a model does not have a part that a card edits; empty where it has."""
    if part in WHY_NOT:
        return "" if _has(clip, part) else WHY_NOT[part]
    if part in get_args(Edits):
        return ""
    return "" if any(fnmatchcase(name, part) for name in clip.model.state_dict()) else f"it has no tensor {part}"


def _has(clip: Clip, part: str) -> bool:
    match part:
        case "visual projection" | "text projection":
            try:
                visual_projection(clip) if part == "visual projection" else text_projection(clip)
            except NoProjectionError:
                return False
            return True
        case "text blocks":
            return any(is_text_block(name) for name, _ in clip.model.named_parameters())
        case _:
            tower = clip.model if hasattr(clip.model, "token_embedding") else getattr(clip.model, "text", None)
            return isinstance(getattr(tower, "token_embedding", None), nn.Embedding) and isinstance(
                getattr(tower, "positional_embedding", None), nn.Parameter
            )
