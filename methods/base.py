"""The former place of `methods.common.base`, kept for one version: import from `methods` instead."""

from __future__ import annotations

import warnings

from methods.common.base import ClosedFormMethod as ClosedFormMethod
from methods.common.base import UnlearningMethod as UnlearningMethod

warnings.warn(
    "methods.base has moved: import from `methods` or `methods.common.base`", DeprecationWarning, stacklevel=2
)
