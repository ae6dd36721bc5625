"""The contract tests on one method, as a stranger's file meets them: what `check` runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.execution.process.processes import RankTracebackError
from benchmark.execution.process.unlearner import Unlearner, Work
from benchmark.models.loading import load_clip
from benchmark.models.registry import PRETRAINING
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.suggestions import near_file
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError
from datamodules.common.module import Retrained
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest
from methods.common.card import ContractError, Declaration, read_method, resolve
from methods.common.clip import Clip

REQUESTS = (ForgetRequest(classes=("heart",)), ForgetRequest(concept="dotted"))
SEED = 7


@dataclass(frozen=True)
class Finding:
    """One clause of the contract, whether it holds, and what was seen."""

    clause: str
    holds: bool
    detail: str = ""


def check_method(file: Path, models: Sequence[str], cache_dir: Path) -> Iterator[Finding]:
    """Check a method file, clause by clause; later clauses are left out where an earlier one makes them void.

    The file is never imported in this process: it unlearns in processes of its own, as it would for a record, and what
    it tries there that its data regime does not give it is a broken clause even where it catches the refusal.

    Args:
        file: The method's file.
        models: CLIPs to run it on.
        cache_dir: Where the embedded world's images are kept.

    Raises:
        ContractError: If the file does not exist.
    """
    if not file.is_file():
        raise ContractError(f"no file {file}{near_file(file)}")
    try:
        declaration = read_method(file)
    except BenchmarkError as error:
        yield Finding("the card can be read without importing the file", False, str(error))
        return
    if declaration is None:
        yield Finding("the file declares CARD = MethodCard(...) at top level", False)
        return
    yield Finding("the card can be read without importing the file", True, declaration.card.name)
    yield from _declarations(file, declaration)
    unlearner = Unlearner(cache_dir)
    clause = "the file has an UnlearningMethod with card = CARD"
    try:
        unlearner.check_imports([declaration])
    except Exception as error:  # noqa: BLE001 - whatever a stranger's file does when it is imported is the finding
        yield Finding(clause, False, _told(error, file))
        return
    yield Finding(clause, True)
    for model in models:
        clip = load_clip(model)
        dataset = open_dataset("shapes", None, cache_dir, clip.preprocessing.framing)
        for request in REQUESTS:
            yield from _runs(declaration, unlearner, clip, dataset, request)


def _declarations(file: Path, declaration: Declaration) -> Iterator[Finding]:
    same = declaration.card.name == file.stem
    yield Finding("the card's name is the file's name", same, "" if same else f"{declaration.card.name} in {file.name}")
    without = [f.name for f in dataclasses.fields(declaration.hyperparameters) if not f.metadata.get("source")]
    yield Finding("every hyperparameter has a source", not without, ", ".join(without))


def _runs(
    declaration: Declaration, unlearner: Unlearner, clip: Clip, dataset: Dataset, request: ForgetRequest
) -> Iterator[Finding]:
    where = f"on {clip.name}, forgetting {request}"
    trains_again = declaration.card.regime == PRETRAINING
    hparams = vars(resolve(declaration.hyperparameters, clip.scale, {}))
    stand_in = _stand_in(clip) if trains_again else None

    def once(seed: int) -> Unlearned:
        return unlearner.unlearn(Work(declaration, hparams, clip, dataset, request, seed, retrained=stand_in))

    clause = f"it runs within its data regime ({declaration.card.regime}) and edits only what it declares, {where}"
    try:
        first = once(SEED)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's method raises is the finding
        yield Finding(clause, False, _told(error, declaration.path))
        return
    yield Finding(clause, True, f"{first.cost.seconds:.1f} s, {first.items_distinct} images read")
    idle = declaration.card.edits == ("nothing",) and not declaration.card.adds
    changed = f"{len(first.edited)} tensors changed"
    yield Finding(f"it changes a declared tensor, {where}", idle or bool(first.edited), changed)
    buffers = {name for name, _ in first.clip.model.named_buffers()} & set(first.edited)
    if not trains_again:  # another training has other statistics, and they belong to its weights
        yield Finding(f"batch statistics and other buffers stay, {where}", not buffers, ", ".join(sorted(buffers)[:3]))
    repeats = [(f"the same seed gives the same weights, {where}", SEED)]
    if not declaration.card.stochastic:
        repeats.append((f"another seed gives the same weights (stochastic=False), {where}", SEED + 1))
    for clause, seed in repeats:
        try:
            yield Finding(clause, _same(first, once(seed)))
        except Exception as error:  # noqa: BLE001 - as above
            yield Finding(clause, False, _told(error, declaration.path))


def _told(error: Exception, file: Path) -> str:
    """An error with the last line of the user's file that led to it."""
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error.__cause__, RankTracebackError):
        return text
    user_frames = [frame for frame in error.__cause__.failure.frames if Path(frame[0]).name == file.name]
    if not user_frames:
        return text
    _, number, function, line = user_frames[-1]
    return f"{text}\n    {file.name}, line {number}, in {function}: {line}"


def _stand_in(clip: Clip) -> Retrained:
    """Other weights in the place of a retrained model's: the contract asks what a method touches, not how well."""
    generator = torch.Generator().manual_seed(SEED)
    state = {
        name: value + 0.01 * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in clip.model.state_dict().items()
    }
    return Retrained(state, 0.0)


def _same(one: Unlearned, other: Unlearned) -> bool:
    """Whether two results are equal but for rounding."""
    state, other_state = one.clip.model.state_dict(), other.clip.model.state_dict()
    return all(torch.allclose(value.float(), other_state[name].float(), atol=1e-5) for name, value in state.items())
