"""What an unlearning costs: seconds, working memory, floating-point operations, bytes of the edit.

The clock runs around the unlearning alone and waits for the GPU. Memory is what the unlearning takes on top of what the
process (or the GPU) held when it began. Operations are counted by hooks on the two towers: items passed, times the
tower's operations an item (measured once), times three where a gradient flows back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from methods.clip import Clip, text_transformer

SAMPLING_SECONDS = 0.01
STATM = Path("/proc/self/statm")


@dataclass
class Cost:
    """The cost of one block of work.

    Attributes:
        seconds: Wall time, the GPU's work included.
        peak_memory_bytes: Largest memory on top of what was held at the start; None where it cannot be read.
        flops: Floating-point operations of both towers; a multiply-add counts two.
    """

    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    flops: int = 0


@contextmanager
def measured(clip: Clip) -> Iterator[Cost]:
    """Measure the work of a block on a CLIP. The yielded cost is filled in when the block ends."""
    cost = Cost()
    device = clip.device
    with _counted_flops(clip, cost), _peak_memory(device, cost):
        _wait(device)
        start = time.perf_counter()
        try:
            yield cost
        finally:
            _wait(device)
            cost.seconds = time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _peak_memory(device: torch.device, cost: Cost) -> Iterator[None]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        yield
        cost.peak_memory_bytes = torch.cuda.max_memory_allocated(device) - held
        return
    if not STATM.exists():
        yield
        return
    held = peak = _resident_bytes()
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(SAMPLING_SECONDS):
            peak = max(peak, _resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        cost.peak_memory_bytes = max(peak, _resident_bytes()) - held


def _resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * 4096


@contextmanager
def _counted_flops(clip: Clip, cost: Cost) -> Iterator[None]:
    visual_each, text_each = tower_flops(clip)

    def count(each: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            backward = torch.is_grad_enabled() and isinstance(output, Tensor) and output.requires_grad
            cost.flops += len(inputs[0]) * each * (3 if backward else 1)

        return hook

    handles = [
        clip.visual.register_forward_hook(count(visual_each)),
        text_transformer(clip).register_forward_hook(count(text_each)),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tower_flops(clip: Clip) -> tuple[int, int]:
    """Operations of one forward pass of one image and of one text.

    torch's counter does not see fused attention, which is what runs in evaluation mode on a CPU; it is switched off
    for the one pass that is counted.
    """
    side = clip.preprocessing.image_size
    image = torch.zeros(1, 3, side, side, device=clip.device)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    counts = []
    try:
        passes: tuple[Callable[[], Tensor], ...] = (
            lambda: clip.encode_image(image),
            lambda: clip.encode_text(["a photo"]),
        )
        for encode in passes:
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
                encode()
            counts.append(int(counter.get_total_flops()))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counts[0], counts[1]
