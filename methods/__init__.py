"""Unlearning methods, one a file: each a LightningModule that a Trainer drives.

What a method's file needs is imported from here: `from methods import ClosedFormMethod, MethodCard, hyper`. The names
are fetched when they are asked for, so that reading a card imports no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from methods.common.base import ClosedFormMethod as ClosedFormMethod
    from methods.common.base import UnlearningMethod as UnlearningMethod
    from methods.common.card import MethodCard as MethodCard
    from methods.common.card import NoHyperparameters as NoHyperparameters
    from methods.common.card import hyper as hyper
    from methods.common.projections import visual_projection as visual_projection
    from methods.common.zero_shot import NameClassifier as NameClassifier

_PLACES = {
    "ClosedFormMethod": "methods.common.base",
    "UnlearningMethod": "methods.common.base",
    "MethodCard": "methods.common.card",
    "NoHyperparameters": "methods.common.card",
    "hyper": "methods.common.card",
    "visual_projection": "methods.common.projections",
    "NameClassifier": "methods.common.zero_shot",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'methods' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
