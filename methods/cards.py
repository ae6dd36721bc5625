"""The former place of `methods.common.card`, kept for one version: import from `methods` instead."""

from __future__ import annotations

import warnings

from methods.common.card import ContractError as ContractError
from methods.common.card import MethodCard as MethodCard
from methods.common.card import NoHyperparameters as NoHyperparameters
from methods.common.card import hyper as hyper

warnings.warn(
    "methods.cards has moved: import from `methods` or `methods.common.card`", DeprecationWarning, stacklevel=2
)
