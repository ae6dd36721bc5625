"""The former place of `methods.common.projections`, kept for one version: import from `methods` instead."""

from __future__ import annotations

import warnings

from methods.common.projections import VisualProjection as VisualProjection
from methods.common.projections import visual_projection as visual_projection

warnings.warn(
    "methods.projection has moved: import from `methods` or `methods.common.projections`",
    DeprecationWarning,
    stacklevel=2,
)
