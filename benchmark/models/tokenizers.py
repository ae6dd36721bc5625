"""Tokenizers: CLIP's own, which comes with open_clip, and those of the Hugging Face hub, from there or from a folder.

Where there is no network, `--tokenizer DIR` names a folder with a tokenizer's files: it is written into the model's
name, as in `ViT-B-16-SigLIP/webli?tokenizer=DIR`, so that a record says it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmark.models.compact import ClipTokenizer, file_sha256
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.tensor_files import WeightsError, first_line

if TYPE_CHECKING:
    from torch import Tensor

Tokenizer = Callable[[list[str]], "Tensor"]
OPTION = "?tokenizer="
"""What stands in a model's name before the folder of its tokenizer."""
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
"""One of these makes a folder a tokenizer's."""
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
CONFIG = "config.json"
"""The architecture of a text tower of transformers, which may stand beside its tokenizer."""
BESIDE = "."
"""In the place of a tokenizer's name: it stands in the model's folder, and nothing says where it is from."""
CONTEXT = 77
"""Where a configuration does not say it."""
EXTRA = "install it with pip install -e '.[huggingface]'"


def split_tokenizer(model: str) -> tuple[str, Path | None]:
    """A model's name without the folder of its tokenizer, and that folder; None where it names none."""
    name, option, folder = model.partition(OPTION)
    return name, Path(folder).expanduser() if option else None


def with_tokenizer(model: str, folder: Path | None) -> str:
    """A model's name with the folder of its tokenizer, if it names none yet."""
    return model if folder is None or OPTION in model else f"{model}{OPTION}{folder}"


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / file).is_file() for file in FILES)


def check_tokenizer(folder: Path) -> None:
    """Check that a folder holds a tokenizer.

    Raises:
        WeightsError: If it does not.
    """
    if not is_tokenizer(folder):
        what = "holds no tokenizer" if folder.is_dir() else "is not there"
        raise WeightsError(
            f"--tokenizer: the folder {folder} {what}: it needs one of {', '.join(FILES[:4])}; transformers writes it "
            "with AutoTokenizer.from_pretrained(NAME).save_pretrained(DIR)"
        )


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that make its tokenizer, and the configuration of a text tower."""
    return [folder / file for file in sorted((*FILES, *SETTINGS, CONFIG)) if (folder / file).is_file()]


def tokenizer_identity(folder: Path) -> str:
    """What identifies a tokenizer in a cell's key: 16 digits over its files.

    Raises:
        WeightsError: If the folder holds none.
    """
    check_tokenizer(folder)
    lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in tokenizer_files(folder))
    return f"tokenizer:{hashlib.sha256(lines.encode()).hexdigest()[:16]}"


def hub_tokenizer(text: Mapping[str, Any]) -> str:
    """The name of the tokenizer on the Hugging Face hub that an architecture needs; empty where it takes CLIP's own.

    Args:
        text: open_clip's `text_cfg`.
    """
    return str(text.get("hf_tokenizer_name") or text.get("hf_model_name") or "")


def tokenizer_of(text: Mapping[str, Any], name: str, folder: Path | None = None) -> Tokenizer:
    """The tokenizer of an architecture.

    Args:
        text: open_clip's `text_cfg`.
        name: The model as the user named it, for messages.
        folder: Of the tokenizer's files, where they are not to be fetched.

    Raises:
        WeightsError: If it is one of the hub's, and transformers or the files are not here.
    """
    context, options = int(text.get("context_length", CONTEXT)), dict(text.get("tokenizer_kwargs") or {})
    hub = hub_tokenizer(text)
    if not hub and folder is None:
        if not options:
            return ClipTokenizer(context)
        import_open_clip()
        from open_clip.tokenizer import SimpleTokenizer

        return cast(Tokenizer, SimpleTokenizer(context_length=context, **options))
    import_open_clip()
    from open_clip.tokenizer import HFTokenizer

    if folder is not None:
        check_tokenizer(folder)
    elif hub == BESIDE:
        raise WeightsError(
            f"model {name!r}: its folder holds no tokenizer ({', '.join(FILES[:4])}): copy it there, or use "
            "--tokenizer DIR"
        )
    source = str(folder or hub)
    try:
        tokenizer = HFTokenizer(source, context_length=context, tokenizer_mode=text.get("tokenizer_mode"), **options)
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise WeightsError(
            f"model {name!r} needs a tokenizer of the Hugging Face hub ({hub}), which transformers reads: {EXTRA}"
        ) from error
    except Exception as error:
        first = first_line(error)
        raise WeightsError(
            f"model {name!r}: its tokenizer {source} cannot be "
            + (
                f"read ({first}): copy the folder again"
                if folder
                else f"fetched from the Hugging Face hub ({first}): copy it here and use --tokenizer DIR"
            )
        ) from error
    return cast(Tokenizer, tokenizer)
