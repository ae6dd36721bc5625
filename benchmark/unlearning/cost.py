"""What an unlearning costs: seconds, working memory, floating-point operations, bytes of the edit.

The clock runs around the unlearning alone and waits for the GPU. Beside it stand the seconds that the processors worked
for it: those do not grow with what else runs on the machine. Memory is what the unlearning takes on top of what the
process (or the GPU) held when it began. Operations are counted by hooks on the two towers: items passed, times the
tower's operations an item (measured once), times three where a gradient flows back.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import psutil
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from datamodules.common.spent import Spent
from methods.common.clip import Clip, text_transformer
from methods.common.text_tower import context_length

SAMPLING_SECONDS = 0.01


@dataclass
class Cost:
    """The cost of one block of work.

    Attributes:
        seconds: Wall time, the GPU's work included.
        cpu_seconds: Of all threads of the process together; None where what was added is not known.
        load: Processes of the machine that ran or waited for a core, the mean of the last minute; None where it is not
            known. Beyond the number of cores, the wall time is longer than the work.
        peak_memory_bytes: Largest memory on top of what was held at the start.
        flops: Floating-point operations of both towers; a multiply-add counts two.
    """

    seconds: float = 0.0
    cpu_seconds: float | None = 0.0
    load: float | None = None
    peak_memory_bytes: int | None = None
    flops: int = 0
    _device: torch.device = field(default_factory=lambda: torch.device("cpu"), repr=False)
    _memory: _Memory | None = field(default=None, repr=False)
    _paused: list[Spent] = field(default_factory=list, repr=False)
    _added: list[Spent] = field(default_factory=list, repr=False)

    def add(self, spent: Spent) -> None:
        """Add what was spent before, or elsewhere: nothing is free because it was kept."""
        self._added.append(spent)
        self.flops += spent.flops

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave a block of work out of the seconds and the memory; on another model than the measured one."""
        _wait(self._device)
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            with nullcontext() if self._memory is None else self._memory.paused():
                yield
        finally:
            _wait(self._device)
            self._paused.append(Spent(time.perf_counter() - start, time.process_time() - cpu_start))

    def _end(self, seconds: float, cpu_seconds: float) -> None:
        """Fill in what the block took by its clocks, without the pauses and with what was spent elsewhere."""
        self.seconds = seconds + sum(s.seconds for s in self._added) - sum(s.seconds for s in self._paused)
        cpu = [spent.cpu_seconds for spent in self._added]
        paused = sum(spent.cpu_seconds or 0.0 for spent in self._paused)
        known = [value for value in cpu if value is not None]
        self.cpu_seconds = cpu_seconds - paused + sum(known) if len(known) == len(cpu) else None
        if self.peak_memory_bytes is not None:
            self.peak_memory_bytes = max(self.peak_memory_bytes, *(s.peak_memory_bytes for s in self._added), 0)


@contextmanager
def measured(clip: Clip, flops_each: tuple[int, int] | None = None) -> Iterator[Cost]:
    """Measure the work of a block on a CLIP. The yielded cost is filled in when the block ends.

    Args:
        clip: The model.
        flops_each: What `tower_flops` gives for it, where that is known: counting takes some tenths of a second.
    """
    device = clip.device
    cost = Cost(_device=device)
    seconds = cpu_seconds = 0.0
    try:
        with _counted_flops(clip, cost, flops_each or tower_flops(clip)), _peak_memory(device, cost):
            _wait(device)
            start, cpu_start = time.perf_counter(), time.process_time()
            try:
                yield cost
            finally:
                _wait(device)
                seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    finally:
        cost._end(seconds, cpu_seconds)


def machine_load() -> float | None:
    """Processes that ran or waited for a core, the mean of the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Memory:
    """The largest memory above what was held, sample by sample; what a paused block took and kept is left out."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._lock = threading.Lock()
        self._held, self.peak = self._now(), 0
        self._reset()

    def sample(self) -> None:
        """Look at what is held now, or, on a GPU, at the most that was held since the last look."""
        with self._lock:
            most = self._now() if self._cuda is None else torch.cuda.max_memory_allocated(self._cuda)
            self.peak = max(self.peak, most - self._held)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not look while the block runs."""
        self.sample()
        with self._lock:
            before = self._now()
            try:
                yield
            finally:
                self._held += self._now() - before
                self._reset()

    def _now(self) -> int:
        return resident_bytes() if self._cuda is None else torch.cuda.memory_allocated(self._cuda)

    def _reset(self) -> None:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)


@contextmanager
def _peak_memory(device: torch.device, cost: Cost) -> Iterator[None]:
    cost._memory = memory = _Memory(device)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLING_SECONDS):
            memory.sample()

    watcher = threading.Thread(target=watch, daemon=True)
    if device.type != "cuda":
        watcher.start()
    try:
        yield
    finally:
        stop.set()
        if watcher.is_alive():
            watcher.join()
        memory.sample()
        cost.peak_memory_bytes = memory.peak


def resident_bytes() -> int:
    """The resident memory of this process now."""
    return int(psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class CountingHook:
    """Adds the operations of a tower's pass to a cost.

    Attributes:
        cost: Whose.
        flops_per_item: Operations of one item.
        context: Tokens of an item for which that holds; 0 for images. Shorter texts are counted by their share of the
            tokens, as nearly all layers cost; attention costs less still.
        only_counts: Tells it from a method's hooks, which want to see every item.
    """

    cost: Cost
    flops_per_item: int
    context: int = 0
    only_counts: ClassVar[bool] = True

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Called by torch after a pass."""
        backward = torch.is_grad_enabled() and isinstance(output, Tensor) and output.requires_grad
        share = inputs[0].shape[1] / self.context if self.context else 1.0
        self.cost.flops += round(len(inputs[0]) * self.flops_per_item * share) * (3 if backward else 1)

    def __deepcopy__(self, memo: dict[int, Any]) -> CountingHook:
        """Itself: the passes of a copied model are counted too."""
        return self


@contextmanager
def _counted_flops(clip: Clip, cost: Cost, flops_each: tuple[int, int]) -> Iterator[None]:
    visual_each, text_each = flops_each
    handles = [
        clip.visual.register_forward_hook(CountingHook(cost, visual_each)),
        text_transformer(clip).register_forward_hook(CountingHook(cost, text_each, context_length(clip.model, 0))),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tower_flops(clip: Clip) -> tuple[int, int]:
    """Operations of one forward pass of one image and of one text.

    torch's counter does not see fused attention, which is what runs in evaluation mode on a CPU; it is switched off
    for the one pass that is counted. Models of the same modules and shapes are counted once.
    """
    side = clip.preprocessing.image_size
    modules = tuple((name, type(module)) for name, module in clip.model.named_modules())
    shapes = tuple((name, value.shape) for name, value in clip.model.state_dict().items())
    key = (side, modules, shapes)
    if key not in _TOWER_FLOPS:
        _TOWER_FLOPS[key] = _count_tower_flops(clip, side)
    return _TOWER_FLOPS[key]


_TOWER_FLOPS: dict[Hashable, tuple[int, int]] = {}


def _count_tower_flops(clip: Clip, side: int) -> tuple[int, int]:
    image = torch.zeros(1, 3, side, side, device=clip.device)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    counts = []
    try:
        passes: tuple[Callable[[], Tensor], ...] = (
            lambda: clip.encode_image(image),
            lambda: cast(Tensor, cast(Any, clip.model).encode_text(clip.tokens(["a photo"]))),
        )
        for encode in passes:
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
                encode()
            counts.append(int(counter.get_total_flops()))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counts[0], counts[1]
