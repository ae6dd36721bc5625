"""A CLIP as the methods and the measures see it: encoders, tokenizer, preprocessing, zero-shot classifier."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.common.images import Preprocessing
from methods.common.text_tower import TowerCall, raw_embeddings, reads_end_token

Scale = Literal["published", "small"]
ParameterGroup = Literal["visual", "text", "logit_scale"]


@dataclass
class Clip:
    """One CLIP model with all that is needed to use it.

    Attributes:
        model: An open_clip model (`CLIP` or `CustomTextCLIP`).
        tokenize: Turns texts into token ids, shape (B, context length).
        preprocessing: How images become network input.
        name: The name under which it was loaded, such as "shapes-resnet" or "ViT-B-32/openai".
        scale: "published" for backbones of the sizes that papers use, "small" for the small CLIPs of this project:
            selects which defaults a method takes.
        refused: Names that are refused at inference (an output filter, no edit of the weights): a class of that name,
            or a caption that contains one of them, is never an answer.
    """

    model: nn.Module
    tokenize: Callable[[list[str]], Tensor]
    preprocessing: Preprocessing
    name: str
    scale: Scale = "published"
    refused: tuple[str, ...] = ()
    _tokens: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.model.parameters()).device

    @property
    def visual(self) -> nn.Module:
        """The image encoder."""
        return cast(nn.Module, self.model.visual)

    @property
    def logit_scale(self) -> Tensor:
        """The temperature's inverse, exp of the stored logarithm; scalar."""
        return cast(Tensor, self.model.logit_scale).exp()

    @property
    def logit_bias(self) -> Tensor | None:
        """What SigLIP adds to each logit; scalar. None for a model of the softmax loss."""
        bias = getattr(self.model, "logit_bias", None)
        return bias if isinstance(bias, Tensor) else None

    def contrastive_loss(self, image: Tensor, text: Tensor) -> Tensor:
        """The loss of a batch of pairs with which the model was trained: CLIP's, or SigLIP's where it has a bias.

        Args:
            image: Image embeddings, shape (B, D).
            text: Text embeddings, shape (B, D).
        """
        if self.logit_bias is None:
            return contrastive_loss(image, text, self.logit_scale)
        return sigmoid_loss(image, text, self.logit_scale, self.logit_bias)

    def tokens(self, texts: Sequence[str], *, cut: bool = False) -> Tensor:
        """Token ids of texts, on the model's device; each different text is tokenized once.

        Args:
            texts: B texts.
            cut: Whether to leave out what stands after the last end token, which is the highest id.

        Returns:
            Shape (B, context length), or less with `cut`.
        """
        fresh = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        if fresh:
            self._tokens.update(zip(fresh, self.tokenize(fresh), strict=True))
        tokens = torch.stack([self._tokens[text] for text in texts])
        if cut:
            tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
        return tokens.to(self.device)

    def encode_image(self, images: Tensor) -> Tensor:
        """Raw projected image embeddings, shape (B, D); not normalised."""
        return raw_embeddings(self.model, "encode_image", images)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Raw projected text embeddings, shape (B, D); not normalised.

        Each different text is encoded once, and not beyond the end of the longest, where that changes nothing. Where
        hooks are in the model, they see every text at the whole context.
        """
        if is_observed(self.model):
            return self._text_features(self.tokens(texts))
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        features = self._text_features(self.tokens(list(places), cut=reads_end_token(self.model)))
        if len(places) == len(texts):
            return features
        return features[torch.tensor([places[text] for text in texts], device=features.device)]

    def _text_features(self, tokens: Tensor) -> Tensor:
        """Raw embeddings of tokens, perhaps of a shorter context than the model's. Shape (B, D)."""
        return cast(Tensor, TowerCall(self.model, "encode_text")(tokens))

    @torch.no_grad()
    def try_encoders(self) -> None:
        """Run one black image and one text through the model: it raises what a module that does not fit raises."""
        side = self.preprocessing.image_size
        self.encode_image(torch.zeros(1, 3, side, side, device=self.device))
        self.encode_text(["a photo"])

    def zero_shot_classifier(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """One unit-norm column of class weights a name: the mean of its unit-norm prompt embeddings. Shape (C, D).

        CLIP's own prompt ensemble (Radford et al. 2021, section 3.1.4); with one template, that prompt's embedding.
        """
        prompts = [template.format(name) for name in names for template in templates]
        embedded = F.normalize(self.encode_text(prompts).float(), dim=-1)
        return F.normalize(embedded.view(len(names), len(templates), -1).mean(dim=1), dim=-1)

    def is_refused_class(self, names: Sequence[str]) -> Tensor:
        """Which class names are refused: exactly these, so that "crocodile" leaves "crocodile head". Shape (C,)."""
        return torch.tensor([name in self.refused for name in names], dtype=torch.bool)

    def is_refused(self, texts: Sequence[str]) -> Tensor:
        """Which texts contain a refused name as whole words. Boolean, shape (len(texts),)."""
        if not self.refused:
            return torch.zeros(len(texts), dtype=torch.bool)
        pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, self.refused)) + r")\b", re.IGNORECASE)
        return torch.tensor([pattern.search(text) is not None for text in texts])

    def copy(self) -> Clip:
        """An independent copy of the model; tokenizer and token cache are shared."""
        return Clip(
            copy.deepcopy(self.model),
            self.tokenize,
            self.preprocessing,
            self.name,
            self.scale,
            self.refused,
            self._tokens,
        )


def is_observed(model: nn.Module) -> bool:
    """Whether anything but counters of cost is hooked into a model: then each item must pass as it stands."""
    return any(
        not getattr(hook, "only_counts", False)
        for module in model.modules()
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
        for hook in hooks.values()
    )


def parameter_group(name: str) -> ParameterGroup:
    """The part of a CLIP to which a parameter or buffer of this state-dict name belongs."""
    if name.startswith("visual."):
        return "visual"
    return "logit_scale" if name in ("logit_scale", "logit_bias") else "text"


def text_transformer(clip: Clip) -> nn.Module:
    """The text encoder's transformer, for `CLIP` and for `CustomTextCLIP`."""
    owner = clip.model if hasattr(clip.model, "transformer") else clip.model.text
    return cast(nn.Module, cast(Any, owner).transformer)


def is_text_block(name: str) -> bool:
    """Whether a parameter belongs to a text transformer block (not to embeddings, final norm or projection)."""
    return re.match(r"(text\.)?transformer\.resblocks\.", name) is not None


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric InfoNCE over a batch of pairs; the mean of both directions.

    Pairs with the same text need no special care: equal texts have equal embeddings, so sharing the targets among them
    gives the same loss, to the digit.

    Args:
        image: Image embeddings, shape (B, D); normalised here.
        text: Text embeddings, shape (B, D); normalised here.
        scale: The inverse temperature.
    """
    logits = scale * F.normalize(image.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


SAME_TEXT = 1 - 1e-5
"""The cosine from which on two text embeddings are of one text: equal texts differ by rounding alone."""


def sigmoid_loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """SigLIP's loss over a batch of pairs (Zhai et al. 2023, equation 1): each image with each text, alone.

    Images of the same text are pairs with it too: unlike the softmax loss, this one would take them for negatives, and
    a batch of one class has one prompt (our choice; in a batch without such texts it is SigLIP's).

    Args:
        image: Image embeddings, shape (B, D); normalised here.
        text: Text embeddings, shape (B, D); normalised here.
        scale: The inverse temperature.
        bias: Added to each logit.

    Returns:
        The sum over all image-text pairs, divided by B.
    """
    image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
    signs = (text @ text.T > SAME_TEXT).float() * 2 - 1
    return -F.logsigmoid(signs * (scale * image @ text.T + bias)).sum() / len(image)


def state_hash(model: nn.Module, wanted: Callable[[str], bool]) -> str:
    """sha256 of the state-dict entries whose names are wanted."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if wanted(key):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def changed_tensors(before: dict[str, Tensor], after: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of `after` that differ from `before` in any element, by name (NaN counts as different)."""
    return {name: value for name, value in after if not torch.equal(before[name], value)}
