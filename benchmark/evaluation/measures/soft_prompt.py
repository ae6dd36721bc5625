"""Soft prompt: the forget accuracy after a few prompt tokens were learned on 16 images of each class.

The prompt "v1 v2 v3 v4 NAME" has four free vectors in the place of words, the same for every class (CoOp's unified
context: Zhou et al., IJCV 2022, arXiv 2109.01134). They are fitted by cross-entropy on the embeddings of 16 training
images of each class, the weights of the model untouched. A method that only moved the class away from its usual prompt
gets it back. Our choices: forget images make up a quarter of the loss, as in relearning, or one class of a hundred
would not count; Adam, `STEPS` steps; a filter at the output is no part of the weights and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import SHOTS, NotMeasurableError
from benchmark.evaluation.measures.relearning import FORGET_BATCH, RETAIN_BATCH, draw_shots
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from methods.common.clip import Clip

TOKENS, STEPS, RATE = 4, 40, 0.02
FORGET_SHARE = FORGET_BATCH / (FORGET_BATCH + RETAIN_BATCH)


def measure(context: Context) -> Metrics:
    """`forget/soft_prompt_acc1` and `retain/soft_prompt_acc1`."""
    names = context.require_classes()
    random = np.random.default_rng((context.seed, 0))
    train_labels, forgotten = context.labels("train").numpy(), context.forget_labels.tolist()
    shots = draw_shots(context.dataset, train_labels, forgotten, max(SHOTS), random)
    rows = np.sort(np.concatenate([shots.forget, shots.retain]))
    embedded = context.store.images(context.clip, context.dataset, "train", rows=rows)
    labels = context.labels("train")[torch.from_numpy(rows)]
    is_forget = torch.isin(labels, context.forget_labels)
    weights = torch.where(is_forget, FORGET_SHARE / is_forget.sum(), (1 - FORGET_SHARE) / (~is_forget).sum())
    classifier = learn(context.clip, names, embedded, labels, weights)
    right = (context.images() @ classifier.T).argmax(dim=-1) == context.labels()
    metrics: Metrics = {}
    for part, mask in (("forget", context.forget), ("retain", ~context.forget)):
        hits, n = int(right[mask].sum()), int(mask.sum())
        metrics[f"{part}/soft_prompt_acc1"] = Metric(hits / n, n, wilson(hits, n))
    return metrics


def learn(clip: Clip, names: Sequence[str], images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The classifier of the learned prompt, shape (C, D), unit-norm rows, on the CPU.

    Args:
        clip: Untouched.
        names: Of the classes.
        images: Unit-norm embeddings, shape (N, D).
        labels: Shape (N,).
        weights: Of each image in the loss, summing to 1; shape (N,).

    Raises:
        NotMeasurableError: If the text encoder has no token embedding of the usual name.
    """
    table = token_embedding(clip)
    device = clip.device
    usual = table(clip.tokens(["a photo of a"]))[0, 1 : 1 + TOKENS].detach().float()
    vectors = nn.Parameter(usual.clone())
    prompts = [" ".join([*["x"] * TOKENS, f"{name}."]) for name in names]
    optimizer = torch.optim.Adam([vectors], lr=RATE)
    images, labels, weights = images.to(device), labels.to(device), weights.to(device)
    scale = clip.logit_scale.detach()
    with torch.enable_grad(), inserted(table, vectors):
        for _ in range(STEPS):
            rows = functional.normalize(clip.encode_text(prompts).float(), dim=-1)
            loss = (functional.cross_entropy(scale * images @ rows.T, labels, reduction="none") * weights).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            return functional.normalize(clip.encode_text(prompts).float(), dim=-1).cpu()


def token_embedding(clip: Clip) -> nn.Module:
    """The table of token embeddings of the text encoder.

    Raises:
        NotMeasurableError: If there is none of the usual name.
    """
    for name, module in clip.model.named_modules():
        if name.rpartition(".")[2] == "token_embedding":
            return cast(nn.Module, module)
    raise NotMeasurableError("the text encoder has no token embedding into which a prompt could be put")


@contextmanager
def inserted(table: nn.Module, vectors: Tensor) -> Iterator[None]:
    """Within the block the tokens after the start token are these vectors, in every text.

    Args:
        table: The token embedding.
        vectors: Shape (M, width).
    """

    def replace(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
        middle = vectors.to(output.dtype).expand(len(output), -1, -1)
        return torch.cat([output[:, :1], middle, output[:, 1 + len(vectors) :]], dim=1)

    handle = table.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
