"""Modules that a method adds to a CLIP: standard ones, which stand in the state dict and can be built from it alone.

A module is added at a module of the model, its host, and changes what that gives. With x the host's input, y its output
and * along the last dimension:

| kind | y becomes | tensors | merges into a linear host |
|---|---|---|---|
| `low_rank` | y + B A x | `down` = A (r, in), `up` = B (out, r) | yes: W + B A |
| `bottleneck` | y + U relu(D y + d) + u | `down`, `down_bias`, `up`, `up_bias` | no |
| `linear` | y + M y + m | `weight` = M (out, out), `bias` = m (out) | yes: (1 + M) W, (1 + M) b + m |

Each begins as nothing: up, M and the biases are zero. A tensor of it is called `HOST.added_KIND.TENSOR` in the state
dict, so names and shapes alone say what it is (`attach`): no code of the method is needed to measure or to load it.

This file imports torch alone: an exported folder carries it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PREFIX = "added_"
_NAME = re.compile(r"(?P<host>.+)\.added_(?P<kind>[a-z_]+)\.(?P<tensor>[a-z_]+)")


class AddedModuleError(ValueError):
    """A module that cannot be added there, or tensors that are of no standard module."""


class Added(nn.Module):
    """Base of the standard modules. A subclass declares `kind`, `tensors`, `change` and `merge_into`."""

    kind: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def hook(self, host: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """What the host gives from now on; of an output of several parts the first is changed."""
        self.calls += 1
        first, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        changed = self.change(inputs[0] if inputs else first, first)
        return changed if rest is None else (changed, *rest)

    def change(self, given: Tensor, output: Tensor) -> Tensor:
        """The new output of the host.

        Args:
            given: Its input, shape (..., in).
            output: Its output, shape (..., out).
        """
        raise NotImplementedError

    def merge_into(self, host: nn.Linear) -> None:
        """Put the change into the weights of a linear host."""
        raise AddedModuleError(f"a module of kind {self.kind!r} cannot be merged: it stays")

    def fit(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the shapes and values of its tensors."""
        for name in self.tensors:
            setattr(self, name, nn.Parameter(tensors[name].detach().clone(), requires_grad=False))


class LowRank(Added):
    """y + B A x (LoRA, with its scale in B)."""

    kind, tensors = "low_rank", ("down", "up")
    down: nn.Parameter
    up: nn.Parameter

    def change(self, given: Tensor, output: Tensor) -> Tensor:
        """See the module."""
        return output + F.linear(F.linear(given, self.down.to(given)), self.up.to(given)).to(output)

    @torch.no_grad()
    def merge_into(self, host: nn.Linear) -> None:
        """W + B A."""
        host.weight.add_((self.up @ self.down).to(host.weight))


class Bottleneck(Added):
    """y + U relu(D y + d) + u (a residual adapter)."""

    kind, tensors = "bottleneck", ("down", "down_bias", "up", "up_bias")
    down: nn.Parameter
    down_bias: nn.Parameter
    up: nn.Parameter
    up_bias: nn.Parameter

    def change(self, given: Tensor, output: Tensor) -> Tensor:
        """See the module."""
        inner = F.relu(F.linear(output, self.down.to(output), self.down_bias.to(output)))
        return output + F.linear(inner, self.up.to(output), self.up_bias.to(output))


class LinearHead(Added):
    """y + M y + m (a head of one's own)."""

    kind, tensors = "linear", ("weight", "bias")
    weight: nn.Parameter
    bias: nn.Parameter

    def change(self, given: Tensor, output: Tensor) -> Tensor:
        """See the module."""
        return output + F.linear(output, self.weight.to(output), self.bias.to(output))

    @torch.no_grad()
    def merge_into(self, host: nn.Linear) -> None:
        """(1 + M) W, and (1 + M) b + m; a host without a bias takes none.

        Raises:
            AddedModuleError: If the host has no bias and m is not zero.
        """
        if host.bias is None and bool(self.bias.any()):
            raise AddedModuleError("the linear layer has no bias, and the added one is not zero: it stays")
        if host.bias is not None:
            host.bias.add_((self.weight @ host.bias.to(self.weight) + self.bias).to(host.bias))
        host.weight.add_((self.weight @ host.weight.to(self.weight)).to(host.weight))


KINDS: dict[str, type[Added]] = {kind.kind: kind for kind in (LowRank, Bottleneck, LinearHead)}


def new_tensors(kind: str, *, inputs: int, outputs: int, rank: int, like: Tensor) -> dict[str, Tensor]:
    """The tensors of a module that changes nothing yet. What is drawn is drawn on the CPU: every device gets the same.

    Args:
        kind: One of `KINDS`.
        inputs: Width of the host's input.
        outputs: Width of its output.
        rank: r of a low-rank module, or the width of a bottleneck.
        like: Says the device and the type.

    Raises:
        AddedModuleError: If there is no such kind.
    """
    match kind:
        case "low_rank":
            down = (2 * torch.rand(rank, inputs) - 1) / math.sqrt(inputs)
            return {"down": down.to(like), "up": like.new_zeros(outputs, rank)}
        case "bottleneck":
            down = (2 * torch.rand(rank, outputs) - 1) / math.sqrt(outputs)
            rest = {"down_bias": like.new_zeros(rank), "up": like.new_zeros(outputs, rank)}
            return {"down": down.to(like), **rest, "up_bias": like.new_zeros(outputs)}
        case "linear":
            return {"weight": like.new_zeros(outputs, outputs), "bias": like.new_zeros(outputs)}
    raise AddedModuleError(f"there is no added module of kind {kind!r}: use {', '.join(KINDS)}")


def host_of(name: str) -> str:
    """The path of the host of an added tensor, by its state-dict name; empty for any other tensor."""
    match = _NAME.fullmatch(name)
    return match["host"] if match and match["kind"] in KINDS else ""


def added_modules(model: nn.Module) -> dict[str, Added]:
    """The added modules of a model by their paths."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Added)}


def put(model: nn.Module, path: str, kind: str, tensors: Mapping[str, Tensor]) -> Added:
    """Add a module with these tensors at a host.

    Args:
        model: Changed in place.
        path: Of the host.
        kind: One of `KINDS`.
        tensors: All that the kind has.

    Raises:
        AddedModuleError: If there is no such host or kind, tensors are missing, or one of this kind is there already.
    """
    hosts = dict(model.named_modules())
    if not path or path not in hosts or isinstance(hosts[path], Added):
        raise AddedModuleError(f"the model has no module {path!r}")
    if kind not in KINDS:
        raise AddedModuleError(f"there is no added module of kind {kind!r}: use {', '.join(KINDS)}")
    if set(tensors) != set(KINDS[kind].tensors):
        raise AddedModuleError(f"{path}.{PREFIX}{kind} has the tensors {', '.join(KINDS[kind].tensors)}")
    host, name = hosts[path], PREFIX + kind
    if name in dict(host.named_children()):
        raise AddedModuleError(f"{path!r} has an added module of kind {kind!r} already")
    module = KINDS[kind]()
    module.fit(tensors)
    host.add_module(name, module)
    host.register_forward_hook(module.hook)
    return module


def attach(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Build the added modules of a state dict that the model does not have yet.

    Args:
        model: Changed in place.
        tensors: Of a state dict, those of the model itself among them.

    Returns:
        The names of the tensors that are now in place.

    Raises:
        AddedModuleError: If a name or a set of tensors is of no standard module.
    """
    there = set(model.state_dict())
    groups: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name not in there and (match := _NAME.fullmatch(name)):
            groups.setdefault((match["host"], match["kind"]), {})[match["tensor"]] = value
    for (path, kind), own in sorted(groups.items()):
        put(model, path, kind, own)
    return tuple(f"{path}.{PREFIX}{kind}.{name}" for (path, kind), own in groups.items() for name in own)


@torch.no_grad()
def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put an edit into a model: tensors that it has, and those of added modules, which are built.

    Raises:
        AddedModuleError: If a name is of no tensor of the model and of no standard module.
        RuntimeError: If a tensor has another shape than the model's.
    """
    attach(model, tensors)
    state = model.state_dict()
    for name, value in tensors.items():
        if name not in state:
            raise AddedModuleError(f"the model has no tensor {name!r}")
        state[name].copy_(value)


def detach(model: nn.Module, paths: Iterable[str]) -> None:
    """Take added modules out again.

    Args:
        model: Changed in place.
        paths: Of the added modules.
    """
    modules = dict(model.named_modules())
    for path in paths:
        host, _, name = path.rpartition(".")
        owner, module = modules[host], modules[path]
        for key, hook in list(owner._forward_hooks.items()):
            if getattr(hook, "__self__", None) is module:
                del owner._forward_hooks[key]
        delattr(owner, name)


def merge(model: nn.Module) -> None:
    """Put every added module into the weights of its host, and take it out.

    Raises:
        AddedModuleError: If one cannot be merged.
    """
    for path, module in added_modules(model).items():
        host = model.get_submodule(path.rpartition(".")[0])
        if not isinstance(host, nn.Linear):
            raise AddedModuleError(f"{path} cannot be merged: {type(host).__name__} is no linear layer; it stays")
        module.merge_into(host)
        detach(model, [path])


def load(folder: str) -> nn.Module:
    """An exported model with its added modules, by open_clip alone: run in, or import from, the exported folder.

    Args:
        folder: With `open_clip_config.json` and `open_clip_model.safetensors`.
    """
    import json
    from pathlib import Path

    import open_clip
    from safetensors.torch import load_file

    about = json.loads((Path(folder) / "open_clip_config.json").read_text(encoding="utf-8"))
    config, images = about["model_cfg"], about["preprocess_cfg"]
    name = f"exported-{Path(folder).resolve().name}"
    open_clip.factory._MODEL_CONFIGS[name] = config
    model: nn.Module = open_clip.create_model(
        name,
        pretrained=None,
        image_mean=tuple(images["mean"]),
        image_std=tuple(images["std"]),
        image_interpolation=images["interpolation"],
        image_resize_mode=images["resize_mode"],
    )
    state = load_file(Path(folder) / "open_clip_model.safetensors")
    attach(model, state)
    model.load_state_dict(state)
    return model.eval()
