"""Float64 throughout: for tests that one computation gives what another does, on every processor alike.

In float64 two orders of a sum differ by 1e-16, so a bound can be tight and still hold anywhere; in float32 the
difference, and what an inverse or a step of Adam makes of it, is another on each processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch


@contextmanager
def in_double() -> Iterator[None]:
    """Compute in float64 throughout: what asks for `float()`, as losses do for the sake of bf16, gets float64."""
    from_numpy = torch.from_numpy  # the start of a synthetic image is drawn in float32

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "from_numpy", lambda x: from_numpy(x).double() if x.dtype.kind == "f" else from_numpy(x))
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)
