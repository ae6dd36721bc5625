"""Modules that a method adds to a CLIP: standard ones, which stand in the state dict and can be built from it alone.

A module is added at a module of the model, its host, and changes what that gives. With x the host's input, y its output
and * along the last dimension:

| kind | y becomes | tensors | merges into a linear host |
|---|---|---|---|
| `low_rank` | y + B A x | `down` = A (r, in), `up` = B (out, r) | yes: W + B A |
| `bottleneck` | y + U relu(D y + d) + u | `down`, `down_bias`, `up`, `up_bias` | no |
| `linear` | y + M y + m | `weight` = M (out, out), `bias` = m (out) | yes: (1 + M) W, (1 + M) b + m |

Each begins as nothing: up, M and the biases are zero. A tensor of it is called `HOST.added_KIND_TENSOR` in the state
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
_NAME = re.compile(r"(?P<host>.+)\.added_(?P<kind>low_rank|bottleneck|linear)_(?P<tensor>[a-z_]+)")


class AddedModuleError(ValueError):
    """A module that cannot be added there, or tensors that are of no standard module."""


class Added:
    """Base of the standard modules: what happens at a host. A subclass declares `kind` and `tensors`, and `change`.

    The tensors are parameters of the host itself, so that containers (`nn.Sequential`) do not take them for a layer.
    """

    kind: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.calls = 0

    def name(self, tensor: str) -> str:
        """The name of one of its tensors at the host."""
        return f"{PREFIX}{self.kind}_{tensor}"

    def at(self, host: nn.Module, like: Tensor) -> list[Tensor]:
        """Its tensors at a host, in their order, on the device and of the type of another one."""
        return [getattr(host, self.name(tensor)).to(like) for tensor in self.tensors]

    def hook(self, host: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """What the host gives from now on; of an output of several parts the first is changed."""
        self.calls += 1
        first, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        if first.dim() > 3:
            raise AddedModuleError("its host gives feature maps; added modules act along the last dimension")
        changed = self.change(inputs[0] if inputs else first, first, *self.at(host, first))
        return changed if rest is None else (changed, *rest)

    def change(self, given: Tensor, output: Tensor, *tensors: Tensor) -> Tensor:
        """The new output of the host.

        Args:
            given: Its input, shape (..., in).
            output: Its output, shape (..., out).
            tensors: Of this module, in their order.
        """
        raise NotImplementedError

    def merge_into(self, host: nn.Linear) -> None:
        """Put the change into the weights of a linear host.

        Raises:
            AddedModuleError: If it cannot be told by weights alone.
        """
        raise AddedModuleError(f"a module of kind {self.kind!r} cannot be merged: it stays")


class LowRank(Added):
    """y + B A x (LoRA, with its scale in B)."""

    kind, tensors = "low_rank", ("down", "up")

    def change(self, given: Tensor, output: Tensor, *tensors: Tensor) -> Tensor:
        """See the module."""
        down, up = tensors
        if given.shape[:-1] != output.shape[:-1]:
            raise AddedModuleError("a low-rank module needs a host whose output is as its input is, but for the width")
        return output + F.linear(F.linear(given.to(output), down), up)

    @torch.no_grad()
    def merge_into(self, host: nn.Linear) -> None:
        """W + B A."""
        down, up = self.at(host, host.weight)
        host.weight.add_(up @ down)


class Bottleneck(Added):
    """y + U relu(D y + d) + u (a residual adapter)."""

    kind, tensors = "bottleneck", ("down", "down_bias", "up", "up_bias")

    def change(self, given: Tensor, output: Tensor, *tensors: Tensor) -> Tensor:
        """See the module."""
        down, down_bias, up, up_bias = tensors
        return output + F.linear(F.relu(F.linear(output, down, down_bias)), up, up_bias)


class LinearHead(Added):
    """y + M y + m (a head of one's own)."""

    kind, tensors = "linear", ("weight", "bias")

    def change(self, given: Tensor, output: Tensor, *tensors: Tensor) -> Tensor:
        """See the module."""
        return output + F.linear(output, *tensors)

    @torch.no_grad()
    def merge_into(self, host: nn.Linear) -> None:
        """(1 + M) W, and (1 + M) b + m; a host without a bias takes none.

        Raises:
            AddedModuleError: If the host has no bias and m is not zero.
        """
        weight, bias = self.at(host, host.weight)
        if host.bias is None and bool(bias.any()):
            raise AddedModuleError("the linear layer has no bias, and the added one is not zero: it stays")
        if host.bias is not None:
            host.bias.add_(weight @ host.bias + bias)
        host.weight.add_(weight @ host.weight)


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
    return match["host"] if match else ""


def added_at(host: nn.Module) -> list[Added]:
    """What was added at a module, in the order in which it acts."""
    found = (getattr(hook, "__self__", None) for hook in host._forward_hooks.values())
    return [one for one in found if isinstance(one, Added)]


def added_modules(model: nn.Module) -> dict[str, Added]:
    """The added modules of a model by the paths of their hosts and their kinds."""
    return {f"{path}.{PREFIX}{one.kind}": one for path, host in model.named_modules() for one in added_at(host)}


def never_called(model: nn.Module, tensors: Iterable[str]) -> str:
    """Where an added module was never called, of those that some tensors are of; empty where each was.

    Args:
        model: After it was run.
        tensors: State-dict names; others than those of added modules do not count.
    """
    hosts = {host for name in tensors if (host := host_of(name))}
    idle = (path for path in sorted(hosts) for one in added_at(model.get_submodule(path)) if not one.calls)
    return next(idle, "")


def put(model: nn.Module, path: str, kind: str, tensors: Mapping[str, Tensor]) -> list[nn.Parameter]:
    """Add a module with these tensors at a host.

    Args:
        model: Changed in place.
        path: Of the host.
        kind: One of `KINDS`.
        tensors: All that the kind has.

    Returns:
        Its parameters, which are not trained unless that is asked of them.

    Raises:
        AddedModuleError: If there is no such host or kind, tensors are missing, or one of this kind is there already.
    """
    hosts = dict(model.named_modules())
    if not path or path not in hosts:
        raise AddedModuleError(f"the model has no module {path!r}")
    if kind not in KINDS:
        raise AddedModuleError(f"there is no added module of kind {kind!r}: use {', '.join(KINDS)}")
    if set(tensors) != set(KINDS[kind].tensors):
        raise AddedModuleError(f"a module of kind {kind!r} at {path} has the tensors {', '.join(KINDS[kind].tensors)}")
    host = hosts[path]
    if any(one.kind == kind for one in added_at(host)):
        raise AddedModuleError(f"{path!r} has an added module of kind {kind!r} already")
    module = KINDS[kind]()
    parameters = {name: nn.Parameter(value.detach().clone(), requires_grad=False) for name, value in tensors.items()}
    for name, parameter in parameters.items():
        host.register_parameter(module.name(name), parameter)
    host.register_forward_hook(module.hook)
    return list(parameters.values())


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
    return tuple(f"{path}.{PREFIX}{kind}_{name}" for (path, kind), own in groups.items() for name in own)


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


def take_out(host: nn.Module, module: Added) -> None:
    """Take an added module out again."""
    for key, hook in list(host._forward_hooks.items()):
        if getattr(hook, "__self__", None) is module:
            del host._forward_hooks[key]
    for tensor in module.tensors:
        delattr(host, module.name(tensor))


def merge(model: nn.Module) -> None:
    """Put every added module into the weights of its host, and take it out.

    Raises:
        AddedModuleError: If one cannot be merged.
    """
    for path, host in model.named_modules():
        for module in added_at(host):
            if not isinstance(host, nn.Linear):
                raise AddedModuleError(
                    f"what was added at {path} cannot be merged: {type(host).__name__} is no linear layer; it stays"
                )
            module.merge_into(host)
            take_out(host, module)


def load(folder: str) -> tuple[nn.Module, Any]:
    """An exported model with what was added to it, and its preprocessing, by open_clip and this file alone.

    Args:
        folder: With `open_clip_config.json` and `open_clip_model.safetensors`.
    """
    from pathlib import Path

    import open_clip
    from safetensors.torch import load_file

    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name, load_weights=False, pretrained_text=False)
    state = load_file(Path(folder) / "open_clip_model.safetensors")
    attach(model, state)
    model.load_state_dict(state)
    return model.eval(), preprocess
