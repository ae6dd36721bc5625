"""Class names as a model's text encoder sees them: what its tokenizer makes equal, cuts off, or was never trained on.

CLIP's tokenizer lowers case and joins spaces; a context is cut after some tokens; a small CLIP has embeddings only of
the tokens of its training, the others are zero. Two names whose prompts are the same to the model have the same row in
every zero-shot classifier: no number can tell them apart, and forgetting one forgets the other.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.models.blip_folder import BLIP
from benchmark.models.compact import TOKEN_IDS, ClipTokenizer, read_architecture
from benchmark.models.hub import fetched_settings
from benchmark.models.model_folder import HUB, LOCAL, model_folder, settings_of
from benchmark.models.naming import MEMORY, model_config, parse_model
from benchmark.models.tokenizers import Tokenizer, split_tokenizer, tokenizer_of
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from torch import Tensor

    from methods.common.clip import Clip

Ids = NDArray[np.int64]
_SHOWN = 3
_LONGEST = 60


class NamesError(BenchmarkError):
    """A name to forget that is, to the model, the name of something that is to be kept."""


@dataclass(frozen=True)
class Reader:
    """What a text encoder reads of a text.

    Attributes:
        model: As the user named it, for messages.
        tokenize: Texts to token ids, shape (texts, context), as an array or a tensor.
        trained: The ids whose embeddings training touched; None where that is all of them.
    """

    model: str
    tokenize: Tokenizer | Callable[[list[str]], Ids]
    trained: frozenset[int] | None = None

    def ids(self, texts: Sequence[str]) -> Ids:
        """Token ids, shape (texts, context)."""
        return np.asarray(self.tokenize(list(texts)))

    def rows(self, texts: Sequence[str]) -> Ids:
        """What of texts reaches the encoder: token ids, those without an embedding as -1. Shape (texts, context)."""
        tokens = self.ids(texts)
        if self.trained is None:
            return tokens
        return np.where(np.isin(tokens, sorted(self.trained)), tokens, -1)


def reader_of(model: str) -> Reader | None:
    """What a model reads, found without its weights; None for a BLIP and for models in memory.

    Raises:
        WeightsError: If its tokenizer is not here.
    """
    architecture, tag, path = parse_model(model)
    if architecture in (MEMORY, BLIP):
        return None
    if architecture == "compact" and path is not None:
        from safetensors import safe_open

        context = int(read_architecture(path, model).text["context_length"])
        with safe_open(path, framework="np") as file:
            return Reader(model, _clip_tokenizer(context), frozenset(file.get_tensor(TOKEN_IDS).tolist()))
    folder = split_tokenizer(model)[1]
    if architecture == HUB:
        settings = settings_of(model, fetched_settings(model, tag))
        return Reader(model, _tokenizer(settings.model["text_cfg"], model, folder or settings.tokenizer))
    if architecture == LOCAL and path is not None:
        model_files = model_folder(model, path, Path(tag) if tag else None)
        rows = model_files.state().get("token_embedding.weight") if model_files.scale == "small" else None
        tokenizer = _tokenizer(model_files.config["text_cfg"], model, folder or model_files.tokenizer)
        return Reader(model, tokenizer, None if rows is None else _touched(rows))
    return Reader(model, _tokenizer(model_config(model)["text_cfg"], model, folder))


def reader_of_clip(clip: Clip) -> Reader:
    """What a loaded model reads: of a small CLIP, tokens whose embeddings are all zero were never trained."""
    from torch import Tensor

    tower = clip.model if hasattr(clip.model, "token_embedding") else getattr(clip.model, "text", None)
    weight = getattr(getattr(tower, "token_embedding", None), "weight", None)
    known = _touched(weight) if clip.scale == "small" and isinstance(weight, Tensor) else None
    return Reader(clip.name, clip.tokenize, known)


def _touched(rows: Tensor) -> frozenset[int]:
    """The ids whose embeddings are not all zero."""
    return frozenset(rows.detach().abs().sum(dim=1).nonzero().flatten().tolist())


def check_names(
    reader: Reader, forget: Sequence[str], retain: Sequence[str], templates: Sequence[str], dataset: str
) -> list[str]:
    """Find out what of a request's names the model cannot tell apart, does not read to the end or does not know.

    Args:
        reader: What the model reads.
        forget: The names to forget.
        retain: The names to keep.
        templates: Prompt templates, each with one `{}`.
        dataset: Its name, for messages.

    Returns:
        What the user should know before the run, one line each.

    Raises:
        NamesError: If a name to forget is one with a name to keep.
    """
    names = (*forget, *retain)
    if not names:
        return []
    notes = []
    for group in same_to(reader, names, templates):
        both = [name for name in group if name in forget], [name for name in group if name not in forget]
        why = _why_same(reader, group, templates[0])
        if all(both):
            raise NamesError(
                f"{dataset}: {_short(both[0][0])} is to be forgotten and {_short(both[1][0])} to be kept, but to "
                f"{reader.model} they are one name: {why}"
            )
        notes.append(f"{dataset}: to {reader.model}, {_listed(group)} are one name: {why}")
    if cut := _cut(reader, names, templates[0]):
        context = reader.ids([names[0]]).shape[1]
        notes.append(
            f"{dataset}: {reader.model} reads {context} tokens: the prompts of {_listed(cut)} fill them, and what is "
            "beyond is not read"
        )
    if unknown := _unknown(reader, names):
        of_request = [name for name in unknown if name in forget]
        to_forget = f", {_listed(of_request)} to be forgotten among them" if of_request else ""
        notes.append(
            f"{dataset}: {reader.model} was never trained on words of {len(unknown)} of {len(names)} names "
            f"({_listed(unknown)}{to_forget}): its numbers on them say little"
        )
    return notes


def same_to(reader: Reader, names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """The groups of two names and more whose prompts are the same to the model in every template."""
    groups = [list(dict.fromkeys(names))]
    for template in templates:
        rows = defaultdict(list)
        for number, group in enumerate(groups):
            for name, row in zip(group, reader.rows([template.format(name) for name in group]), strict=True):
                rows[number, row.tobytes()].append(name)
        groups = [group for group in rows.values() if len(group) > 1]
        if not groups:
            return []
    return groups


def _why_same(reader: Reader, group: Sequence[str], template: str) -> str:
    tokens = reader.ids([template.format(name) for name in group])
    if not bool((tokens == tokens[0]).all()):
        return "it was never trained on the words in which they differ; choose a model that knows them"
    if _cut(reader, group, template):
        return f"they differ only beyond the {tokens.shape[1]} tokens that it reads; shorten the names"
    return "its tokenizer lowers case and joins spaces; rename one, or join the classes"


def _cut(reader: Reader, names: Sequence[str], template: str) -> list[str]:
    """The names whose prompt has no room left in the context."""
    filling = int(reader.ids(["a"])[0, -1])
    last = reader.ids([template.format(name) for name in names])[:, -1].tolist()
    return [name for name, token in zip(names, last, strict=True) if token != filling]


def _unknown(reader: Reader, names: Sequence[str]) -> list[str]:
    """The names with a token that training never touched."""
    if reader.trained is None:
        return []
    around = set(reader.ids([""])[0].tolist())
    known = reader.trained | around
    return [n for n, row in zip(names, reader.ids(names).tolist(), strict=True) if not set(row) <= known]


def _short(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}...{name[-_LONGEST // 2 :]}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_short, names[:_SHOWN])) + more


def _tokenizer(text: dict[str, Any], model: str, folder: Path | None) -> Tokenizer | Callable[[list[str]], Ids]:
    tokenizer = tokenizer_of(text, model, folder)
    return _clip_tokenizer(tokenizer.context_length) if isinstance(tokenizer, ClipTokenizer) else tokenizer


def _clip_tokenizer(context: int) -> Callable[[list[str]], Ids]:
    """CLIP's tokenizer as open_clip has it, but into arrays."""

    def tokenize(texts: list[str]) -> Ids:
        vocabulary = _vocabulary()
        rows = np.zeros((len(texts), context), dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [vocabulary.sot_token_id, *vocabulary.encode(text), vocabulary.eot_token_id]
            if len(ids) > context:
                ids = [*ids[: context - 1], vocabulary.eot_token_id]
            row[: len(ids)] = ids
        return rows

    return tokenize


@cache
def _vocabulary() -> Any:
    """CLIP's merges, from the file of open_clip that has them.

    The import of the whole package takes seconds, and so does that of PyTorch, which the file asks for and encoding
    does without: where nobody has imported it, a module without content stands in its place while the file is read.
    """
    if (loaded := sys.modules.get("open_clip.tokenizer")) is not None:
        return loaded.SimpleTokenizer()
    package = importlib.util.find_spec("open_clip")
    folder = Path(next(iter((package and package.submodule_search_locations) or ())))
    spec = importlib.util.spec_from_file_location("_open_clip_tokenizer", folder / "tokenizer.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"open_clip's tokenizer is not in {folder}")
    module = importlib.util.module_from_spec(spec)
    if "torch" in sys.modules:
        spec.loader.exec_module(module)
    else:
        sys.modules["torch"] = _Nothing("torch")
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules["torch"]
    return getattr(module, "_tokenizer", None) or module.SimpleTokenizer()  # it has read them already


class _Nothing(ModuleType):
    """A module in which every name is found and is nothing: for annotations."""

    def __getattr__(self, _: str) -> type[object]:
        return object
