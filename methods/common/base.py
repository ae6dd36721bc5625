"""The contract of an unlearning method: a LightningModule that holds a CLIP and edits it under `Trainer.fit`.

A method is one file: `CARD`, perhaps a frozen dataclass `Hyperparameters`, and a subclass of

* `UnlearningMethod`, for a method that takes steps: give `training_step` and, unless Adam at the learning rate of its
  hyperparameters will do, `configure_optimizers`;
* `ClosedFormMethod`, for a method without steps: give `edit()`.

The base class freezes what the card does not name, keeps the model in evaluation mode (batch statistics never move),
and provides the frozen original, snapshots and the zero-shot classifier. It knows nothing of evaluation.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from datamodules.common.module import ForgetSpec, Pairs, Part, UnlearningDataModule
from methods.common.added import AddedModuleError, host_of, merge, new_tensors, put
from methods.common.card import ContractError, MethodCard
from methods.common.clip import Clip, is_text_block, parameter_group
from methods.common.projections import NoProjectionError, visual_projection

H = TypeVar("H")
Snapshot = dict[str, Tensor]


class UnlearningMethod(L.LightningModule, ABC, Generic[H]):
    """Base of all methods.

    Args:
        clip: The CLIP to unlearn, edited in place.
        spec: The names to forget and to retain.
        hyperparameters: An instance of the file's `Hyperparameters`.

    Attributes:
        report: What the method wants to tell of its run (levels, steps, ...); stored in the record, never ranked.
    """

    card: ClassVar[MethodCard]
    raw_images: ClassVar[bool] = False
    """Whether batches hold images as they are stored, uint8 of shape (B, 3, S, S), for a transform of the method's own;
    `network_input` then makes them what the CLIP wants."""

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: H) -> None:
        super().__init__()
        self.clip = clip
        self.clip_model = clip.model
        self.spec = spec
        self.h = hyperparameters
        self.report: dict[str, Any] = {}
        self._original: list[Clip] = []
        clip.model.eval()
        for name, parameter in clip.model.named_parameters():
            parameter.requires_grad_(self.may_edit(name))

    # -- what the runner asks ----------------------------------------------------------------------------------------

    def may_edit(self, name: str) -> bool:
        """Whether the card declares this state-dict entry as one that the method may touch."""
        return may_touch(self.card, name, self.clip)

    def batch_size(self) -> int:
        """Pairs a batch: the hyperparameter `batch_size`, or 1."""
        return int(getattr(self.h, "batch_size", 1))

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """How many training batches the method wants.

        By default the hyperparameter `max_steps` if it is set, else `epochs` passes over the largest part.

        Args:
            sizes: Images of each part that its data regime gives it.
        """
        max_steps = getattr(self.h, "max_steps", None)
        if max_steps is not None:
            return int(max_steps)
        longest = max(sizes.values(), default=1)
        return math.ceil(longest / self.batch_size()) * int(getattr(self.h, "epochs", 1))

    def validation_interval(self, steps: int) -> int:
        """Steps between two validations (`self.data.validation()`): the hyperparameter `validate_every`, or a tenth of
        all; at least 2, since callbacks take 1 for once at the end.

        Args:
            steps: How many are planned.
        """
        return max(2, int(getattr(self.h, "validate_every", 0)) or steps // 10)

    # -- what Lightning asks -----------------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """What chooses among the states of the training, where the hyperparameter `checkpoints` asks for it."""
        looks = int(getattr(self.h, "checkpoints", 0))
        if not looks:
            return []
        from methods.common.selection import StateSelection  # it builds on this module

        return [StateSelection(self, looks)]

    def on_train_epoch_start(self) -> None:
        """Evaluation mode: no dropout, and batch-norm statistics stay those of the original."""
        self.clip.model.eval()

    def configure_optimizers(self) -> Any:
        """Adam as CLIPErase uses it, at the hyperparameters `learning_rate`, `weight_decay` and `eps` (if present)."""
        return torch.optim.Adam(
            self.editable_parameters(),
            lr=float(cast(Any, self.h).learning_rate),
            betas=(0.9, 0.98),
            eps=float(getattr(self.h, "eps", 1e-8)),
            weight_decay=float(getattr(self.h, "weight_decay", 0.0)),
            fused=True,
        )

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip the norm of the whole gradient at the hyperparameter `max_gradient_norm`, where there is one."""
        limit = getattr(self.h, "max_gradient_norm", None)
        if limit is not None:
            self.clip_gradients(optimizer, gradient_clip_val=limit, gradient_clip_algorithm="norm")

    # -- what a method may use ---------------------------------------------------------------------------------------

    def editable_parameters(self) -> list[nn.Parameter]:
        """The parameters that the card declares."""
        return [p for name, p in self.clip.model.named_parameters() if self.may_edit(name)]

    @property
    def data(self) -> UnlearningDataModule:
        """The DataModule of this run: what the data regime allows, and the synthetic forget sets."""
        return cast(UnlearningDataModule, cast(Any, self.trainer).datamodule)

    @property
    def original(self) -> Clip:
        """A frozen copy of the CLIP as it came; made on first use, which must be before the first edit."""
        if not self._original:
            original = self.clip.copy()
            original.model.requires_grad_(False)
            original.model.eval()
            self._original.append(original)
        return self._original[0]

    def add(self, kind: str, at: str, *, rank: int = 0) -> list[nn.Parameter]:
        """Add a standard module at each module of the CLIP whose path fits: see `methods.common.added`.

        They begin as nothing, are trained with what else the card declares, and stay in the model unless `merge_added`
        puts them into the weights. Call it in the constructor, or before the first step with an optimizer of your own.

        Args:
            kind: "low_rank", "bottleneck" or "linear".
            at: A path or a glob pattern of paths, such as "visual.transformer.resblocks.*.mlp".
            rank: Of a low-rank module; of a bottleneck, its width.

        Returns:
            The new parameters.

        Raises:
            ContractError: If no module fits, the card does not declare it (`adds`), or it cannot be added there.
        """
        try:
            return [parameter for path in self._hosts(at) for parameter in self._added(kind, path, rank)]
        except AddedModuleError as error:
            raise ContractError(f"method {self.card.name!r}: {error}") from error

    def _hosts(self, at: str) -> list[str]:
        paths = [path for path, _ in self.clip.model.named_modules() if path and fnmatchcase(path, at)]
        if not paths:
            raise ContractError(f"method {self.card.name!r} adds at {at!r}: {self.clip.name} has no such module")
        if undeclared := [path for path in paths if not _is_host(self.card, path)]:
            raise ContractError(
                f"method {self.card.name!r} adds at {undeclared[0]}, but its card declares {self.card.adds}"
            )
        return paths

    def _added(self, kind: str, path: str, rank: int) -> list[nn.Parameter]:
        inputs, outputs = self._widths(path)
        like = next(self.clip.model.get_submodule(path).parameters(), next(self.clip.model.parameters()))
        tensors = new_tensors(kind, inputs=inputs, outputs=outputs, rank=rank, like=like.detach())
        parameters = put(self.clip.model, path, kind, tensors)
        for parameter in parameters:
            parameter.requires_grad_(True)
        self.clip.try_encoders()  # a place that does not take it is told at once
        return parameters

    @torch.no_grad()
    def _widths(self, path: str) -> tuple[int, int]:
        """The widths of a module's input and output, as one image and one text show them."""
        seen: list[tuple[int, int]] = []

        def see(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            seen.append((inputs[0].shape[-1], first.shape[-1]))

        handle = self.clip.model.get_submodule(path).register_forward_hook(see)
        try:
            self.clip.try_encoders()
        finally:
            handle.remove()
        if not seen:
            raise ContractError(
                f"method {self.card.name!r} adds at {path}, which the model never calls: its weights are read from "
                "without; choose the module around it"
            )
        return seen[0]

    def merge_added(self) -> None:
        """Put all added modules into the weights of their hosts, and take them out.

        Raises:
            ContractError: If one cannot be merged; it may stay then.
        """
        try:
            merge(self.clip.model)
        except AddedModuleError as error:
            raise ContractError(f"method {self.card.name!r}: {error}") from error

    def network_input(self, images: Tensor) -> Tensor:
        """Images as the CLIP wants them, from the images of a raw batch (`raw_images`), perhaps changed.

        Args:
            images: uint8, shape (B, 3, S, S).

        Returns:
            float32, shape (B, 3, side, side).
        """
        return self.clip.preprocessing(images)

    def classifier(self, *, clip: Clip | None = None) -> Tensor:
        """The zero-shot classifier over the names to forget, then those to keep: unit-norm rows, shape (C, D)."""
        return (clip or self.clip).zero_shot_classifier(self.spec.all_names, self.spec.templates)

    def pair_loss(self, pairs: Pairs) -> Tensor:
        """The contrastive loss of a batch of pairs from the DataModule: CLIP's symmetric one, or SigLIP's."""
        image, text = self.clip.encode_image(pairs["images"]), self.clip.encode_text(pairs["texts"])
        return self.clip.contrastive_loss(image, text)

    def snapshot(self) -> Snapshot:
        """A copy of the parameters that the method may touch."""
        return {n: p.detach().clone() for n, p in self.clip.model.named_parameters() if self.may_edit(n)}

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        for name, parameter in self.clip.model.named_parameters():
            if name in snapshot:
                parameter.copy_(snapshot[name])


class ClosedFormMethod(UnlearningMethod[H]):
    """Base of the methods without steps: `edit` runs once, without gradient."""

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: H) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False

    @abstractmethod
    def edit(self) -> None:
        """Edit the CLIP in place."""

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """One."""
        return 1

    def configure_optimizers(self) -> None:
        """None is needed."""

    def training_step(self, batch: object, index: int) -> None:
        """Make the edit."""
        with torch.no_grad():
            self.edit()


def optimizer_state(optimizer: Any) -> dict[str, Any]:
    """A deep copy of an optimizer's state, for a rollback."""
    return copy.deepcopy(cast(dict[str, Any], optimizer.state_dict()))


def declared(card: MethodCard, name: str, clip: Clip) -> bool:
    """Whether a card declares a state-dict entry of a CLIP as one that the method may change.

    Beside what the method may touch these are the weights of the modules at which it may add some: by merging.
    """
    return may_touch(card, name, clip) or _is_host(card, name.rpartition(".")[0])


def may_touch(card: MethodCard, name: str, clip: Clip) -> bool:
    """Whether a card declares a state-dict entry of a CLIP as one that the method may train; what it adds is, too."""
    if host := host_of(name):
        return _is_host(card, host)
    return any(_belongs(name, part, clip) for part in card.edits)


def _is_host(card: MethodCard, path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in card.adds)


def _belongs(name: str, part: str, clip: Clip) -> bool:
    match part:
        case "nothing":
            return False
        case "visual projection":
            try:
                return name in visual_projection(clip).state_names
            except NoProjectionError:
                return False
        case "text blocks":
            return is_text_block(name)
        case "logit scale":
            return parameter_group(name) == "logit_scale"
        case "visual" | "text":
            return parameter_group(name) == part
        case _:
            return fnmatchcase(name, part)


class GatheringMethod(UnlearningMethod[H]):
    """Hands batches to `gather`, then calls `edit`; both without gradient."""

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: H) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        self._seen: dict[str, set[int]] = {}

    @abstractmethod
    def gather(self, part: Part, pairs: Pairs) -> None:
        """Take note of images that were not handed on before.

        Args:
            part: Where they are from.
            pairs: At least one.
        """

    @abstractmethod
    def edit(self) -> None:
        """Edit the CLIP in place."""

    def configure_optimizers(self) -> None:
        """None is needed."""

    def training_step(self, batch: Mapping[Part, Pairs], index: int) -> None:
        """Hand on what is new."""
        with torch.no_grad():
            for part, pairs in batch.items():
                fresh = self._fresh(part, pairs)
                if len(fresh["texts"]):
                    self.gather(part, fresh)

    def on_train_end(self) -> None:
        """Make the edit."""
        with torch.no_grad():
            self.edit()

    def _fresh(self, part: Part, pairs: Pairs) -> Pairs:
        seen = self._seen.setdefault(part, set())
        rows = [row for row, index in enumerate(pairs["indices"].tolist()) if index not in seen]
        seen.update(pairs["indices"].tolist())
        return Pairs(
            images=pairs["images"][rows],
            texts=[pairs["texts"][row] for row in rows],
            labels=pairs["labels"][rows],
            indices=pairs["indices"][rows],
        )
