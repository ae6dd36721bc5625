"""The exported folder: made beside its place and moved there, read back by open_clip alone before that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from benchmark.exporting.config import (
    ADDED_MODULE,
    TRUNK_MODULE,
    ExportError,
    added_source,
    needs_trunk,
    open_clip_config,
    trunk_source,
    write_tokenizer,
)
from benchmark.models.building import quiet
from benchmark.records.record import Record
from datamodules.common.kept_files import CannotWriteError, DiskFullError, replace_file, sweep, temporary_name
from methods.common.added import added_modules, load
from methods.common.clip import Clip

MODEL, CONFIG, CARD, RECORD = "open_clip_model.safetensors", "open_clip_config.json", "README.md", "record.json"
LARGEST_GAP = 1e-5
"""Largest difference of a unit-norm feature between the model and what open_clip reads back."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to be filled, which takes the target's place when the block ends, or vanishes if it raises.

    Args:
        target: Must not exist, or be empty.

    Raises:
        ExportError: If the disk refuses it.
    """
    work = temporary_name(target)
    try:
        work.mkdir(parents=True)
        sweep(target.parent)
        yield work
        try:
            work.replace(target)  # at once, also in place of an empty folder
        except OSError:
            if not target.is_dir():
                raise
            for file in sorted(work.iterdir(), key=lambda path: path.name == CONFIG):  # without it, it is no model
                file.rename(target / file.name)
    except DiskFullError as error:
        raise DiskFullError(f"{target} cannot be written: {error}") from error
    except (OSError, CannotWriteError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ExportError(f"{target} cannot be written ({reason or error}); name another folder") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_target(folder: str) -> Path:
    """Find out before any work whether a folder can be made.

    Raises:
        ExportError: If it holds something, or cannot be made.
    """
    target = Path(folder).expanduser().resolve()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ExportError(f"{folder} is there already and not empty: name another folder, or remove it first")
    probe = temporary_name(target)
    try:
        probe.mkdir(parents=True)
        probe.rmdir()
    except OSError as error:
        raise ExportError(f"{folder} cannot be made ({error.strerror or error}); name another folder") from error
    return target


def export_model(
    target: Path, clip: Clip, model: str, names: Sequence[str], page: str | None = None, record: Record | None = None
) -> float:
    """Write a model as a folder that open_clip loads, and read it back to be sure of it.

    Args:
        target: Must not exist, or be empty.
        clip: The model, whole.
        model: As a record names it: says the architecture.
        names: What was to be forgotten; some of the prompts that are compared.
        page: The model card; None writes none.
        record: What was measured; None likewise.

    Returns:
        The largest difference of a unit-norm feature between the model and what open_clip reads back.

    Raises:
        ExportError: If open_clip does not read back the same model, or the disk refuses the folder.
    """
    with new_folder(target) as work:
        write_model(work, clip, model)
        gap = check_model(work, clip, ["a photo of a dog", *(f"a photo of a {name}" for name in names)])
        if page is not None:
            replace_file(work / CARD, page.encode())
        if record is not None:
            text = json.dumps(record.to_dict(), sort_keys=True, indent=1) + "\n"
            replace_file(work / RECORD, text.encode())
    return gap


def write_model(folder: Path, clip: Clip, model: str) -> None:
    """Write weights, configuration and tokenizer, and the module of an image trunk that timm does not have.

    Args:
        folder: Where.
        clip: The unlearned model, whole.
        model: The model as the record names it.
    """
    state = {name: value.detach().cpu().contiguous().clone() for name, value in clip.model.state_dict().items()}
    replace_file(folder / MODEL, save(state, metadata={"format": "pt"}))
    text = json.dumps(open_clip_config(model, clip), indent=2) + "\n"
    replace_file(folder / CONFIG, text.encode())
    write_tokenizer(clip, folder)
    if added_modules(clip.model):
        replace_file(folder / f"{ADDED_MODULE}.py", added_source())
    if needs_trunk(model):
        replace_file(folder / f"{TRUNK_MODULE}.py", trunk_source())


@torch.no_grad()
def check_model(folder: Path, clip: Clip, texts: Sequence[str]) -> float:
    """Load the folder by open_clip, with the module of what was added, and compare: equal tokens, image and text
    features within `LARGEST_GAP`.

    Args:
        folder: With weights and configuration.
        clip: The unlearned model.
        texts: Prompts to compare.

    Returns:
        The largest difference of a unit-norm feature.

    Raises:
        ExportError: If open_clip cannot read it, or reads another model.
    """
    import open_clip

    name = f"local-dir:{folder}"
    try:
        with quiet():
            read = load(str(folder)) if added_modules(clip.model) else open_clip.create_model_and_transforms(name)
        tokens: Tensor = open_clip.get_tokenizer(name)(list(texts))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ExportError(f"open_clip cannot read the exported model ({type(error).__name__}: {first})") from error
    model: Any = read[0].eval()
    if not torch.equal(tokens, clip.tokenize(list(texts))):
        raise ExportError("the exported tokenizer gives other tokens than the model's own: it cannot be exported")
    cpu_copy = clip.copy()
    cpu_copy.model.to("cpu").eval()
    side = clip.preprocessing.image_size
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    gap = 0.0
    for was, now in (
        (cpu_copy.encode_image(images), model.encode_image(images)),
        (cpu_copy.encode_text(texts), model.encode_text(tokens)),
    ):
        expected, exported = (torch.nn.functional.normalize(features.float(), dim=-1) for features in (was, now))
        gap = max(gap, float((expected - exported).abs().max()))
    if not gap <= LARGEST_GAP:
        raise ExportError(
            f"open_clip reads back another model (features differ by {gap:.1e}): what this method left does not fit "
            "into open_clip's format"
        )
    return gap
