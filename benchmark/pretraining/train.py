"""Training a small CLIP from a recipe: contrastive learning under a Lightning Trainer, then a compact file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmark.models.compact import KEPT_AS, ClipTokenizer, save_compact
from benchmark.pretraining.checkpoint import Checkpoints, Standing
from benchmark.pretraining.corpus import Corpus, PretrainingBatch
from benchmark.pretraining.edges import EdgeTask
from benchmark.pretraining.forward import encode_smaller, encode_texts
from benchmark.pretraining.identity import training_identity
from benchmark.pretraining.optimizers import make_optimizer, make_schedule
from benchmark.pretraining.recipe import Recipe
from benchmark.pretraining.stem import whiten_stem
from benchmark.utils.hardware import Precision, resolve_device, resolve_precision
from benchmark.utils.trainer import fit, make_trainer
from datamodules.common.dataset import Dataset
from datamodules.common.errors import UnknownNameError
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest
from methods.common.clip import contrastive_loss

MAX_LOGIT_SCALE = math.log(100)  # CLIP (Radford et al. 2021, section 2.5)
ProgressCallback = Callable[[int, int, float], None]


class ContrastivePretraining(L.LightningModule):
    """CLIP's contrastive learning, and what the recipe says beside it."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps: int,
        progress: ProgressCallback | None = None,
        *,
        compiled: bool = False,
        standing: Standing | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        visual = cast(nn.Module, model.visual)
        self._encode_image: Callable[[Tensor], Tensor] = torch.compile(visual, dynamic=False) if compiled else visual
        self.edges = EdgeTask(visual) if recipe.edge_weight else None
        if standing is not None and self.edges is not None:
            self.edges.load_state_dict(dict(standing.beside))
        self._recipe, self._steps, self._progress = recipe, steps, progress
        self._standing, self._offset = standing, 0 if standing is None else standing.step

    def training_step(self, batch: PretrainingBatch, index: int) -> Tensor:
        """The loss of one batch; each different text is encoded once."""
        model = cast(Any, self.model)
        index += self._offset
        side = self._recipe.side_at(index / self._steps)
        if side < batch["images"].shape[-1]:
            image = encode_smaller(model.visual, batch["images"], side)
        else:
            image = self._encode_image(batch["images"])
        text, scale = encode_texts(model, batch["tokens"]), model.logit_scale.exp()
        if "blocks" in batch:
            loss = loss_in_blocks(image, text, scale, batch, smoothing=self._recipe.label_smoothing)
        else:
            loss = contrastive_loss(image, text[batch["text_of"]], scale)
        if self.edges is not None and (share := self.edges.share(index / self._steps)):
            loss = loss + self._recipe.edge_weight * share * self.edges.loss(batch["images"])
        if self._progress is not None:
            self._progress(index + 1, self._steps, loss.item())
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        """Keep the temperature where CLIP keeps it."""
        cast(Any, self.model).logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer and schedule, from where the training stands."""
        optimizer = make_optimizer(self, self._recipe)
        schedule = make_schedule(optimizer, self._recipe, self._steps)
        if self._standing is not None:
            optimizer.load_state_dict(dict(self._standing.optimizer))
            schedule.load_state_dict(dict(self._standing.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loss_in_blocks(image: Tensor, text: Tensor, scale: Tensor, batch: PretrainingBatch, *, smoothing: float) -> Tensor:
    """The mean over a batch whose data sets are told apart each by itself, weighted by their images.

    Labelled images: the cross-entropy of each over all prompts of its data set. Captions: the symmetric contrastive
    loss among the captioned images of the data set.

    Args:
        image: Image embeddings, shape (B, D); normalised here.
        text: Embeddings of the batch's different texts, shape (U, D), unit norm.
        scale: The inverse temperature.
        batch: Says which images belong together.
        smoothing: Label smoothing of the cross-entropy, in [0, 1).
    """
    unit = functional.normalize(image.float(), dim=-1)
    total = image.new_zeros((), dtype=torch.float32)
    for first, stop, among, target in batch["blocks"]:
        rows = slice(first, stop)
        if len(among):
            logits = scale * unit[rows] @ text[among].float().T
            loss = functional.cross_entropy(logits, target, label_smoothing=smoothing)
        else:
            loss = contrastive_loss(image[rows], text[batch["text_of"][rows]], scale)
        total = total + (stop - first) * loss
    return total / len(image)


@dataclass(frozen=True)
class Trained:
    """What a run of a recipe gives: the file, the seconds of training and the number of pairs seen."""

    path: Path
    seconds: float
    pairs: int


def pretrain(
    recipe: Recipe,
    out: Path,
    *,
    data_dir: Path | None,
    cache_dir: Path,
    seed: int = 0,
    exclude: dict[str, ForgetRequest] | None = None,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    progress: ProgressCallback | None = None,
    checkpoint: Path | None = None,
    datasets: Sequence[Dataset] | None = None,
    say: Callable[[str], None] | None = None,
    cached: bool = False,
) -> Trained:
    """Train a recipe and write the model.

    Args:
        recipe: What to train.
        out: The compact file to write.
        data_dir: Where the real data sets are.
        cache_dir: Where decoded images are kept.
        seed: Of the weights, the order and the augmentation.
        exclude: For each data set, what the model must never see: gives a retrained-without model.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32" or "bf16".
        compiled: Compile the vision tower (needs a C++ compiler; a minute, then about a sixth faster on a CPU).
        progress: Called after each step with the steps done, their number, and the loss.
        checkpoint: Where the training keeps how far it is, every two minutes, and goes on from if it was killed.
        datasets: To train on in the place of the recipe's: other images of the same kinds.
        say: Told in a line from where a training goes on that was stopped.
        cached: The model is one of the cache, which says under which name it was kept.
    """
    unknown = sorted(set(exclude or {}) - set(recipe.data))
    if unknown:
        raise UnknownNameError(f"data set of recipe {recipe.name}", unknown[0], recipe.data)
    where = resolve_device(device)
    L.seed_everything(seed, verbose=False)
    chosen = resolve_precision(precision, device)
    side = recipe.architecture.image_input.image_size
    corpora = datasets or [open_dataset(name, data_dir, cache_dir, side) for name in recipe.data]
    tokenize = ClipTokenizer(recipe.architecture.text["context_length"])
    corpus = Corpus.of(recipe, corpora, tokenize, exclude=exclude, seed=seed)
    model = recipe.architecture.build(vocabulary=len(corpus.token_ids))
    if recipe.logit_scale is not None:
        cast(Any, model).logit_scale.data.fill_(math.log(recipe.logit_scale))
    if recipe.whitened_stem:
        whiten_stem(cast(nn.Module, model.visual), next(iter(corpus))["images"])
    model.train()
    about = {
        "recipe": recipe.name,
        "seed": seed,
        "precision": chosen,
        "pairs": sum(corpus.again(cycle.epochs, 0, cycle.label_share).steps for cycle in recipe.cycles())
        * recipe.batch_size,
        "exclude": {name: request.to_dict() for name, request in (exclude or {}).items()},
    }
    revisions = [dataset.revision for dataset in corpora]
    if datasets is not None:
        about["data"] = revisions
    what = (seed, about["exclude"], where.type)
    identity = training_identity(recipe, *what, revisions=revisions, precision=chosen)
    without = "".join(f", without {request} of {name}" for name, request in sorted((exclude or {}).items()))
    checkpoints = Checkpoints(checkpoint, identity, f"{recipe.name}, seed {seed}, {chosen}{without}")
    seconds, steps = _fit(model, recipe, corpus, checkpoints, _Training(where, chosen, compiled, seed, progress, say))
    about["seconds"] = round(seconds, 1)
    if cached:
        about[KEPT_AS] = out.name
    save_compact(out, model, corpus.token_ids, recipe.architecture, about)
    checkpoints.clear()
    return Trained(out, seconds, steps * recipe.batch_size)


@dataclass(frozen=True)
class _Training:
    device: torch.device
    precision: Precision
    compiled: bool
    seed: int
    progress: ProgressCallback | None
    say: Callable[[str], None] | None


def _fit(
    model: nn.Module, recipe: Recipe, corpus: Corpus, checkpoints: Checkpoints, run: _Training
) -> tuple[float, int]:
    """Train all cycles, from where the checkpoint stands; the seconds that it took and the steps."""
    cycles = [
        (cycle, corpus.again(cycle.epochs, run.seed + n, cycle.label_share)) for n, cycle in enumerate(recipe.cycles())
    ]
    total, done = sum(part.steps for _, part in cycles), 0
    standing = checkpoints.load()
    seconds = 0.0 if standing is None else standing.seconds
    if run.say is not None and checkpoints.path is not None and checkpoints.path.exists():
        run.say(_where_from(checkpoints.path, standing, [part.steps for _, part in cycles]))
    if standing is not None:
        model.load_state_dict(standing.model)
        torch.set_rng_state(standing.random)
    for n, (cycle, part) in enumerate(cycles):
        resumed = standing if standing is not None and standing.cycle == n else None
        offset = 0 if resumed is None else resumed.step
        if standing is None or n >= standing.cycle:
            start = time.perf_counter()
            checkpoints.begin(n, offset=offset, spent=seconds)
            shown = None if run.progress is None else partial(_shown, run.progress, done, total)
            module = ContrastivePretraining(model, cycle, part.steps, shown, compiled=run.compiled, standing=resumed)
            trainer = make_trainer(run.device, run.precision, gradient_clip=1.0, callbacks=[checkpoints])
            fit(trainer, module, train_dataloaders=DataLoader(part.after(offset), batch_size=None))
            if module.edges is not None:
                module.edges.detach()
            seconds += time.perf_counter() - start
        done += part.steps
    return seconds, total


def _where_from(path: Path, standing: Standing | None, steps: Sequence[int]) -> str:
    """A line that says from where a training goes on, or why it begins anew beside a checkpoint."""
    if standing is None:
        return f"{path} is damaged or from another version: the training begins again"
    done = sum(steps[: standing.cycle]) + standing.step
    return f"goes on after step {done} of {sum(steps)}, {standing.seconds:.0f} s of training, kept in {path}"


def _shown(progress: ProgressCallback, before: int, total: int, step: int, _: int, loss: float) -> None:
    progress(before + step, total, loss)
