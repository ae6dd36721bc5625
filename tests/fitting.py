"""Batches of pairs on the tiny data set, a quiet fit, and NumPy's softmax: for the tests of methods with steps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from tiny import APPLE, NAMES, TinyDataset, random_images
from torch import Tensor

from datamodules.common.module import Pairs, UnlearningDataModule
from datamodules.common.request import ForgetRequest
from methods.common.base import UnlearningMethod
from methods.common.clip import Clip

Array = NDArray[np.float64]
CONCEPT = ForgetRequest(concept="apple")


def class_pairs(labels: list[int], seed: int) -> Pairs:
    """Pairs of a request by class: the text is the class's prompt."""
    return Pairs(
        images=random_images(len(labels), seed=seed),
        texts=[f"a photo of a {NAMES[label]}" for label in labels],
        labels=torch.tensor(labels),
        indices=torch.arange(len(labels)) + 100 * seed,
    )


def caption_pairs(texts: list[str], seed: int) -> Pairs:
    """Pairs of a request by concept: captions, no class."""
    return Pairs(
        images=random_images(len(texts), seed=seed),
        texts=texts,
        labels=torch.full((len(texts),), -1),
        indices=torch.arange(len(texts)) + 100 * seed,
    )


def fit(
    method_class: type[UnlearningMethod[Any]],
    hyperparameters: Any,
    clip: Clip,
    cache_dir: Path,
    *,
    captions: bool = False,
    seed: int = 0,
) -> Any:
    """Run a method under a real Trainer on the tiny data set."""
    data = UnlearningDataModule(
        TinyDataset(captions=captions, cache_dir=cache_dir),
        CONCEPT if captions else APPLE,
        regime=method_class.card.regime,
        preprocessing=clip.preprocessing,
        cache_dir=cache_dir,
    )
    L.seed_everything(seed, verbose=False)
    method = method_class(clip, data.spec, hyperparameters)
    data.plan(steps=method.planned_steps(data.sizes), batch_size=method.batch_size())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        L.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(method, datamodule=data)
    return method


def move(clip: Clip, *, by: float = 0.05) -> None:
    """Move every weight a little, the same way each time."""
    with torch.no_grad():
        for parameter in clip.model.parameters():
            parameter.add_(
                by * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )


def unit(x: Tensor) -> Array:
    """Unit rows, in float64."""
    rows = x.detach().double().numpy()
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def log_softmax(logits: Array) -> Array:
    """Over the rows."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def cross_entropy(logits: Array, labels: list[int]) -> float:
    """Mean over the rows."""
    return float(-np.mean([log_softmax(logits)[row, label] for row, label in enumerate(labels)]))


def kl(p: Array, q: Array, temperature: float = 1.0) -> float:
    """T^2 KL of softmaxes at a temperature, mean over the rows, by a double loop."""
    log_p, log_q = log_softmax(p / temperature), log_softmax(q / temperature)
    total = 0.0
    for i in range(len(p)):
        for j in range(p.shape[1]):
            total += np.exp(log_p[i, j]) * (log_p[i, j] - log_q[i, j])
    return float(temperature**2 * total / len(p))
