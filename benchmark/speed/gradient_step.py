"""gradient_step: a step of GradDiff and of CLIPErase, against plain loops as published code writes them; the Trainer.

The plain loops encode the text of every image at the whole context, forget and retain part in passes of their own, and
step with Adam as PyTorch gives it. The other comparison is of GradDiff under the Trainer, all that `run` puts around it
included, with the same steps in a bare loop. On a CPU both sides have one thread, as a method has in a `run` that works
on as many cells as there are cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from benchmark.speed.bench import Bench
from benchmark.speed.findings import Side, SpeedFinding, alternate
from benchmark.unlearning.unlearn import unlearn
from benchmark.utils.randomness import isolated
from datamodules.common.dataset import Dataset
from datamodules.common.module import Batch, Pairs, UnlearningDataModule
from datamodules.common.request import ForgetRequest
from methods.cliperase import CLIPErase
from methods.cliperase import Hyperparameters as CLIPEraseParameters
from methods.common.base import UnlearningMethod
from methods.common.card import resolve
from methods.common.clip import Clip
from methods.common.token_rows import used_token_rows
from methods.graddiff import GradDiff
from methods.graddiff import Hyperparameters as GradDiffParameters

MODELS, DATASET, REQUEST = ("shapes-resnet", "micro"), "shapes", ForgetRequest(classes=("star",))
PAIRS, STEPS, REPEATS = 24, 20, 3
SAME = 1e-5
MOST_PERCENT = 10.0


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Both methods at their settings for small models, then the Trainer."""
    with one_thread(bench.device):
        for model in MODELS:
            clip = bench.model(model)
            dataset = bench.dataset(DATASET, clip.preprocessing.framing)
            for plain, made in ((plain_graddiff, graddiff), (plain_cliperase, cliperase)):
                yield _step(bench, model, clip, dataset, made, plain)
        clip = bench.model(MODELS[0])
        yield _trainer(bench, clip, bench.dataset(DATASET, clip.preprocessing.framing))


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Within the context PyTorch computes with one thread, if on a CPU."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def graddiff(clip: Clip, dataset: Dataset) -> GradDiff:
    """GradDiff with the contrastive loss on both parts, as CLIPErase's table has it; it edits the model itself."""
    h = resolve(GradDiffParameters, "small", {"ascent": "contrastive", "batch_size": PAIRS, "max_steps": STEPS})
    return GradDiff(clip, _data(clip, dataset).spec, h)


def cliperase(clip: Clip, dataset: Dataset) -> CLIPErase:
    """CLIPErase with its three modules; it edits the model itself."""
    h = resolve(CLIPEraseParameters, "small", {"batch_size": PAIRS})
    return CLIPErase(clip, _data(clip, dataset).spec, h)


PlainLoss = Callable[[Any, Any, "Batch", Callable[[list[str]], Tensor]], Tensor]
"""Of the model, the model as it came, the pairs of both parts, and the tokenizer."""


def plain_graddiff(model: Any, original: Any, batch: Batch, tokenize: Callable[[list[str]], Tensor]) -> Tensor:
    """InfoNCE on the retain pairs minus InfoNCE on the forget pairs."""
    losses = {part: _info_nce(*_features(model, pairs, tokenize), model.logit_scale) for part, pairs in batch.items()}
    return losses["retain"] - losses["forget"]


def plain_cliperase(model: Any, original: Any, batch: Batch, tokenize: Callable[[list[str]], Tensor]) -> Tensor:
    """The forgetting, the retention and the consistency module with the weights 3, 1 and 3."""
    image, text = _features(model, batch["forget"], tokenize)
    forgetting = (image * text).sum(dim=-1).mean()
    image, text = _features(model, batch["retain"], tokenize)
    retention = _info_nce(image, text, model.logit_scale)
    with torch.no_grad():
        before = _logits(*_features(original, batch["retain"], tokenize), original.logit_scale)
    now = _logits(image, text, model.logit_scale)
    consistency = sum(
        F.kl_div(q.log_softmax(dim=1), p.softmax(dim=1), reduction="batchmean")
        for p, q in ((before, now), (before.T, now.T))
    )
    return retention + 3 * forgetting + 3 * consistency


def _features(model: Any, pairs: Pairs, tokenize: Callable[[list[str]], Tensor]) -> tuple[Tensor, Tensor]:
    tokens = tokenize(pairs["texts"]).to(pairs["images"].device)
    features = model.encode_image(pairs["images"]), model.encode_text(tokens)
    return F.normalize(features[0], dim=-1), F.normalize(features[1], dim=-1)


def _logits(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    return scale.exp() * image @ text.T


def _info_nce(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    logits = _logits(image, text, scale)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _data(clip: Clip, dataset: Dataset) -> UnlearningDataModule:
    data = UnlearningDataModule(dataset, REQUEST, regime="forget+retain", preprocessing=clip.preprocessing)
    data.plan(steps=STEPS, batch_size=PAIRS)
    return data


def _batches(clip: Clip, dataset: Dataset) -> Iterator[Batch]:
    data = _data(clip, dataset)
    for batch, _, _ in data.train_dataloader():
        yield data.on_after_batch_transfer(move_data_to_device(batch, clip.device), 0)


def _optimised(method: UnlearningMethod[Any], loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    limit = getattr(method.h, "max_gradient_norm", None)
    if limit is not None:
        torch.nn.utils.clip_grad_norm_(method.editable_parameters(), limit)
    optimizer.step()


def _step(
    bench: Bench,
    model: str,
    clip: Clip,
    dataset: Dataset,
    made: Callable[[Clip, Dataset], UnlearningMethod[Any]],
    plain: PlainLoss,
) -> SpeedFinding:
    rival, own = made(clip.copy(), dataset), clip.copy()  # the same parameters are trained
    with used_token_rows(own):  # as around every method that runs
        return _step_beside(bench, model, next(_batches(clip, dataset)), made(own, dataset), rival, plain)


def _step_beside(
    bench: Bench,
    model: str,
    batch: Batch,
    method: UnlearningMethod[Any],
    rival: UnlearningMethod[Any],
    plain: PlainLoss,
) -> SpeedFinding:
    clip, original = rival.clip, rival.original.model
    ours = method.configure_optimizers()
    theirs = torch.optim.Adam(rival.editable_parameters(), lr=ours.param_groups[0]["lr"], betas=(0.9, 0.98))
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}

    def suite_step() -> None:
        loss = cast(Any, method).training_step(batch, 0)
        _optimised(method, loss, ours)
        losses["ours"].append(float(loss.detach()))

    def plain_step() -> None:
        loss = plain(rival.clip.model, original, batch, clip.tokenize)
        _optimised(rival, loss, theirs)
        losses["theirs"].append(float(loss.detach()))

    here, there = alternate(suite_step, plain_step, bench.device, repeats=STEPS)
    gap = abs(losses["ours"][0] - losses["theirs"][0])
    return SpeedFinding(
        f"{model}, a step of {method.card.name} on {PAIRS} + {PAIRS} pairs, fp32",
        (Side("plain loop", 1 / there, "steps/s"), Side("this suite", 1 / here, "steps/s")),
        there / here,
        least=1.5,
        note=f"the first losses differ by {gap:.1e} ({'the same' if gap <= SAME else 'NOT the same'} to {SAME:.0e})",
    )


def _trainer(bench: Bench, clip: Clip, dataset: Dataset) -> SpeedFinding:
    h = graddiff(clip, dataset).h

    def under_the_trainer() -> None:
        unlearn(GradDiff, h, clip.copy(), dataset, REQUEST, seed=0)

    def bare() -> None:
        with isolated(0):
            own = clip.copy()
            with used_token_rows(own):
                method = graddiff(own, dataset)
                optimizer = method.configure_optimizers()
                for batch in _batches(clip, dataset):
                    _optimised(method, cast(Any, method).training_step(batch, 0), optimizer)

    here, there = alternate(under_the_trainer, bare, bench.device, repeats=REPEATS)
    return SpeedFinding(
        f"{MODELS[0]}, graddiff of {STEPS} steps, fp32",
        (Side("bare loop", STEPS / there, "steps/s"), Side("under the Trainer", STEPS / here, "steps/s")),
        100 * (here / there - 1),
        "%",
        most=MOST_PERCENT,
        note="with its start, data, read guard, costs and checks: what `run` puts around a method",
    )
