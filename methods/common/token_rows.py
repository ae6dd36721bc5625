"""While a method works, a model's token embedding holds only the rows that training ever touched.

A small CLIP has CLIP's whole vocabulary, 49,408 rows, of which some hundred hold anything; the others are zero. A
gradient, an optimizer's moments and a weight decay of all of them take a third of a training step and change nothing.
So they are one row here, which every token without a row of its own shares: each text has the embedding that it had,
before, while and after the model is edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from methods.common.clip import Clip
from methods.common.text_tower import reads_end_token

SHARED = 0
"""The row of all tokens without one of their own. It stands first, so that the end token keeps the highest id."""


class UsedRows(nn.Embedding):
    """A token embedding without the rows that hold nothing.

    Args:
        whole: The embedding of the whole vocabulary.
        ids: The tokens that have a row of their own, ascending, shape (R,).
    """

    def __init__(self, whole: nn.Embedding, ids: Tensor) -> None:
        weight = torch.cat([whole.weight.new_zeros(1, whole.embedding_dim), whole.weight.detach()[ids]])
        super().__init__(len(weight), whole.embedding_dim, _weight=weight)  # draws nothing, unlike a new one
        self.weight.requires_grad_(whole.weight.requires_grad)
        self.ids, self.vocabulary = ids, whole.num_embeddings

    def whole(self) -> Tensor:
        """The rows of the whole vocabulary, shape (V, width); differentiable no more."""
        weight = self.weight.detach()
        rows = weight[SHARED].repeat(self.vocabulary, 1)
        rows[self.ids] = weight[1:]
        return rows

    def places(self) -> Tensor:
        """The row of each token, shape (V,), int64, on the CPU."""
        places = torch.full((self.vocabulary,), SHARED, dtype=torch.int64)
        places[self.ids.cpu()] = torch.arange(1, len(self.ids) + 1)
        return places


@contextmanager
def used_token_rows(clip: Clip) -> Iterator[None]:
    """Take the rows that hold nothing out of a CLIP's token embedding, and put it back whole at the end.

    Nothing is done to a model of which most rows are in use, or whose text tower is not read at its end token.

    Args:
        clip: Its model and tokenizer are changed in place until the end.
    """
    tower = _tower(clip.model)
    whole = getattr(tower, "token_embedding", None)
    if type(whole) is not nn.Embedding or not reads_end_token(clip.model):
        yield
        return
    used = (whole.weight.detach() != 0).any(dim=1)
    if 2 * int(used.sum()) > len(used) or not used[-1]:  # the end token is the last one
        yield
        return
    narrow = UsedRows(whole, used.nonzero().squeeze(1))
    tokenize, tokens = clip.tokenize, clip._tokens
    tower.token_embedding, clip.tokenize, clip._tokens = narrow, _renumbered(tokenize, narrow.places()), {}
    try:
        yield
    finally:
        with torch.no_grad():
            whole.weight.copy_(narrow.whole())
        tower.token_embedding, clip.tokenize, clip._tokens = whole, tokenize, tokens


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's state dict, its token embedding with the rows of the whole vocabulary."""
    narrow = {f"{path}.weight": part for path, part in model.named_modules() if isinstance(part, UsedRows)}
    return {name: narrow[name].whole() if name in narrow else value for name, value in model.state_dict().items()}


def _tower(model: nn.Module) -> Any:
    return model if hasattr(model, "token_embedding") else getattr(model, "text", None)


def _renumbered(tokenize: Callable[[list[str]], Tensor], places: Tensor) -> Callable[[list[str]], Tensor]:
    def renumbered(texts: list[str]) -> Tensor:
        return places[tokenize(texts)]

    return renumbered
