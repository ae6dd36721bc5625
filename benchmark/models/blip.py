"""BLIP (Li et al., ICML 2022, arXiv 2201.12086) as a CLIP: the contrastive branch of transformers' retrieval model.

BLIP has two towers and a joint space, as CLIP has, and a matching head over the tokens of both. Here are the towers:

    image:  v = P_v h_0,   h_0 the class token of the last layer of a ViT;   P_v a linear layer with bias
    text:   t = P_t g_0,   g_0 the first token of a BERT without its cross-attention;   P_t likewise

The matching head and the cross-attention layers are left out: no measure of the benchmark asks them, so no method
edits them. The parts carry the names by which CLIPs are known here: `visual.head.proj` is the visual projection and
`transformer.resblocks` are the text blocks.

The temperature that BLIP learns is not in the files of transformers' retrieval model. `logit_scale` starts from the
configuration's `logit_scale_init_value`, by default log(1 / 0.07), where BLIP's training starts (official code); write
the logarithm of another inverse temperature there if you know it. No measure reads it; contrastive losses and the
synthesis of images do.

Our images are resized by the shorter side and cropped, as for every model here; BLIP's own evaluation squeezes them
into a square, so its published numbers are not met to the digit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.blip_folder import BlipFolder
from benchmark.models.tensor_files import WeightsError
from methods.common.clip import Clip

CONTEXT = 35  # tokens of a text, BLIP's retrieval (official code); longer texts are cut
IMAGES_AT_ONCE = 32  # our choice: the library's attention is not fused, 256 images of 577 tokens would take 12 GB


class BlipVisual(nn.Module):
    """The image tower with its projection, shaped as open_clip's timm towers are (methods/common/projections.py)."""

    def __init__(self, trunk: nn.Module, projection: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(OrderedDict(proj=projection))

    def forward(self, images: Tensor) -> Tensor:
        """Raw embeddings, shape (B, D), of network input of shape (B, 3, S, S)."""
        return cast(Tensor, self.head(self.trunk(pixel_values=images).last_hidden_state[:, 0]))


class BlipTextBlocks(nn.Module):
    """The text tower's transformer blocks, without the cross-attention that the contrastive branch does not use."""

    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.resblocks = blocks
        for block in blocks:
            if hasattr(block, "crossattention"):
                del block.crossattention

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Hidden states, shape (B, L, width), under an additive attention mask of shape (B, 1, 1, L)."""
        for block in self.resblocks:
            hidden = block(hidden, attention_mask=mask)
        return hidden


class Blip(nn.Module):
    """BLIP with the interface that `Clip` asks of open_clip's models.

    Args:
        library: A `BlipForImageTextRetrieval`; its parts are taken over.
        padding: The token id that fills up texts, which no token attends to.
        logit_scale: The logarithm of the inverse temperature.
    """

    def __init__(self, library: nn.Module, *, padding: int, logit_scale: float) -> None:
        super().__init__()
        parts = cast(Any, library)
        self.visual = BlipVisual(parts.vision_model, parts.vision_proj)
        self.token_embedding = cast(nn.Module, parts.text_encoder.embeddings)
        self.transformer = BlipTextBlocks(parts.text_encoder.encoder.layer)
        self.text_projection = cast(nn.Module, parts.text_proj)
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.padding = padding

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Image embeddings, shape (B, D); few images at a time where no gradient is wanted."""
        together = len(images) if torch.is_grad_enabled() else IMAGES_AT_ONCE
        starts = range(0, len(images), max(together, 1))
        features = torch.cat([self.visual(images[start : start + together]) for start in starts])
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Text embeddings, shape (B, D), of token ids of shape (B, L); padding changes nothing."""
        hidden = self.token_embedding(input_ids=tokens)
        mask = hidden.new_zeros(tokens.shape).masked_fill(tokens == self.padding, torch.finfo(hidden.dtype).min)
        features = cast(Tensor, self.text_projection(self.transformer(hidden, mask[:, None, None])[:, 0]))
        return F.normalize(features, dim=-1) if normalize else features


@dataclass(frozen=True)
class BlipTokenizer:
    """Turns texts into token ids of one length.

    Attributes:
        tokenizer: One of transformers' tokenizers.
        context: Tokens of a text, shorter ones filled up.
    """

    tokenizer: Any
    context: int

    def __call__(self, texts: list[str]) -> Tensor:
        """Token ids, int64, shape (len(texts), context)."""
        length = {"padding": "max_length", "truncation": True, "max_length": self.context}
        return torch.tensor(self.tokenizer(texts, **length)["input_ids"])


def load_blip(folder: BlipFolder) -> Clip:
    """Load a BLIP on the CPU, in evaluation mode, fp32.

    Raises:
        WeightsError: If the weights or the tokenizer cannot be read or do not fit the configuration.
    """
    preprocessing = folder.preprocessing
    try:
        from transformers import AutoTokenizer, BlipForImageTextRetrieval

        with _quiet():
            library, report = BlipForImageTextRetrieval.from_pretrained(
                folder.path,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise WeightsError(f"model {folder.name!r} cannot be loaded ({type(error).__name__}: {lines[0]})") from error
    _check_weights(folder, report)
    text = library.config.text_config
    if tokenizer.pad_token_id is None or len(tokenizer) > text.vocab_size:
        raise WeightsError(
            f"model {folder.name!r}: the tokenizer in {folder.path} ({len(tokenizer)} tokens) does not fit the model "
            f"({text.vocab_size}); copy it from where the model is from"
        )
    scale = library.config.logit_scale_init_value
    model = Blip(library.float(), padding=tokenizer.pad_token_id, logit_scale=scale).eval()
    context = min(CONTEXT, text.max_position_embeddings)
    return Clip(model, BlipTokenizer(tokenizer, context), preprocessing, folder.name)


def _check_weights(folder: BlipFolder, report: dict[str, Any]) -> None:
    """transformers would draw missing weights at random; entries that it does not know are harmless."""
    missing = sorted(report["missing_keys"])
    odd = sorted(key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    if missing or odd:
        problem = f"{missing[0]} is missing" if missing else f"{odd[0]} has another shape"
        raise WeightsError(f"model {folder.name!r}: the weights do not fit config.json in {folder.path}: {problem}")


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no notes of transformers: what matters is said by `_check_weights`."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
