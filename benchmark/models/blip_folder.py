"""A BLIP as a folder in Hugging Face's format: what must be in it, what identifies it, how one is fetched.

| file | what |
|---|---|
| `config.json` | of a `BlipForImageTextRetrieval` |
| `model.safetensors`, or `model.safetensors.index.json` and its parts | the weights |
| `tokenizer.json` or `vocab.txt`, and their settings | BERT's WordPiece tokenizer |
| `preprocessor_config.json` or `processor_config.json` | size, mean and standard deviation of the images |

Pickled weights are refused, because reading a pickle may run code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmark.models.compact import file_sha256
from benchmark.models.tensor_files import HEADER, WeightsError, first_line, read_header
from datamodules.common.documents import DocumentError, load_json
from datamodules.common.images import OPENAI_MEAN, OPENAI_STD, Preprocessing

BLIP = "blip"
EXAMPLE = "Salesforce/blip-itm-base-coco"
ARCHITECTURE = "BlipForImageTextRetrieval"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "vocab.txt")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
DEFAULT_SIDE = 384  # of BlipVisionConfig and BlipImageProcessor in transformers
BICUBIC = (3, "bicubic")  # Pillow's number of it, which is what preprocessor files hold


@dataclass(frozen=True)
class BlipFolder:
    """A folder whose files are all there and can be opened.

    Attributes:
        name: The model as the user named it, for messages.
        path: The folder.
        config: The content of `config.json`.
        images: The settings of the image processor.
        files: The names of all files that are read.
    """

    name: str
    path: Path
    config: dict[str, Any]
    images: dict[str, Any]
    files: tuple[str, ...]

    @property
    def identity(self) -> str:
        """sha256 over the weights, the configuration, the tokenizer and the image settings: 16 digits of it.

        All of them, because each can change a number.
        """
        lines = "".join(f"{file} {file_sha256(self.path / file)}\n" for file in sorted(self.files))
        return f"{BLIP}:{hashlib.sha256(lines.encode()).hexdigest()[:16]}"

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model wants its images: both sides resized, as in its processor.

        Raises:
            WeightsError: If it wants something else than square bicubic images of the size of its position embedding.
        """
        size = self.images.get("size", DEFAULT_SIDE)
        sides = list(size.values()) if isinstance(size, dict) else [size]
        vision = self.config.get("vision_config") or {}
        expected = vision.get("image_size", DEFAULT_SIDE) if isinstance(vision, dict) else None
        if type(expected) is not int or not 0 < expected <= 4096 or any(side != expected for side in sides):
            raise WeightsError(
                f"model {self.name!r}: its images are of size {size}, but its weights are for squares of {expected} "
                f"pixels; correct the size in {self.path / PREPROCESSORS[0]}"
            )
        if self.images.get("resample", BICUBIC[0]) not in BICUBIC:
            raise WeightsError(
                f"model {self.name!r}: its images are resized by method {self.images['resample']}, but only bicubic "
                "resizing (3) is supported"
            )
        mean, std = (
            self.images.get(*key_and_default)
            for key_and_default in (("image_mean", OPENAI_MEAN), ("image_std", OPENAI_STD))
        )
        for values in (mean, std):
            numbers = isinstance(values, (list, tuple)) and all(type(value) in (int, float) for value in values)
            if not numbers or len(values) != 3 or (values is std and 0 in values):
                raise WeightsError(f"model {self.name!r}: its image_mean and image_std must have three values each")
        return Preprocessing(expected, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), resize="squash")


def parse_blip(name: str) -> tuple[str, str, Path | None]:
    """Split "blip:DIR" or "blip/ORG/NAME" (or "blip/ORG/NAME@REVISION") into ("blip", hub name, folder).

    Raises:
        WeightsError: If it is of neither form.
    """
    _, colon, folder = name.partition(":")
    if colon and folder:
        return BLIP, "", Path(folder).expanduser()
    tag = name.removeprefix(f"{BLIP}/")
    owner, _, model = tag.partition("@")[0].partition("/")
    if colon or tag == name or not owner or not model or "/" in model:
        raise WeightsError(
            f"model {name!r} is of no known form: write blip:DIR for a folder, or blip/ORG/NAME for the hub, "
            f"as in blip/{EXAMPLE}"
        )
    return BLIP, tag, None


def blip_folder(name: str, tag: str, path: Path | None) -> BlipFolder:
    """The checked folder of a model, fetched from the hub if it is named by its tag there.

    Args:
        name: The model as the user named it.
        tag: ORG/NAME or ORG/NAME@REVISION on the hub; empty for a folder.
        path: The folder; None for the hub.

    Raises:
        WeightsError: If the extra is not installed, or the folder cannot be fetched or is not such a folder.
    """
    if find_spec("transformers") is None:
        raise WeightsError(f"model {name!r} needs an optional extra: install it with pip install -e '.[blip]'")
    folder = path if path is not None else _fetched(name, tag)
    if not folder.is_dir():
        raise WeightsError(f"model {name!r}: no folder {folder}; check the path after the colon, or {_recipe(EXAMPLE)}")
    config = _json(name, folder / "config.json")
    architectures = config.get("architectures") or [config.get("model_type")]
    if not isinstance(architectures, list):
        raise WeightsError(f"model {name!r}: architectures in {folder / 'config.json'} is no list")
    if ARCHITECTURE not in architectures:
        raise WeightsError(
            f"model {name!r}: {folder / 'config.json'} is of a {architectures[0]}, but a {ARCHITECTURE} is needed, "
            f"such as {EXAMPLE}"
        )
    weights = _weights(name, folder, source=tag.partition("@")[0] or str(folder))
    tokenizer = [file for file in (*TOKENIZERS, *TOKENIZER_SETTINGS) if (folder / file).is_file()]
    if not set(tokenizer) & set(TOKENIZERS):
        raise WeightsError(
            f"model {name!r}: no tokenizer in {folder} ({' or '.join(TOKENIZERS)}); copy it from where the "
            "model is from"
        )
    preprocessor, images = _images(name, folder)
    return BlipFolder(name, folder, config, images, ("config.json", *weights, *tokenizer, preprocessor))


def _weights(name: str, folder: Path, *, source: str) -> list[str]:
    """The names of the weight files, each of which is whole."""
    files = [WEIGHTS]
    if not (folder / WEIGHTS).is_file():
        if not (folder / INDEX).is_file():
            pickled = sorted(file.name for end in ("bin", "pt", "pth") for file in folder.glob(f"*.{end}"))
            beside = f"only {pickled[0]}, a pickle, and reading a pickle may run code" if pickled else "nothing"
            raise WeightsError(f"model {name!r}: of {WEIGHTS} there is {beside}; {_recipe(source)}")
        shards = _json(name, folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise WeightsError(f"model {name!r}: {folder / INDEX} names no weights; copy it again")
        files = sorted({str(file) for file in shards.values()})
    for file in files:
        if Path(file).name != file:
            raise WeightsError(f"model {name!r}: {folder / INDEX} names {file!r}, which is not in the folder")
        try:
            read_header(folder / file)
        except WeightsError as error:
            raise WeightsError(
                f"model {name!r}: {folder / file} is missing, truncated or damaged ({first_line(error)}); copy it again"
            ) from error
    return files if files == [WEIGHTS] else [INDEX, *files]


def _images(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The name and the content of the image processor's file."""
    for file in PREPROCESSORS:
        if (folder / file).is_file():
            content = _json(name, folder / file)
            images = content.get("image_processor", content)
            if not isinstance(images, dict):
                raise WeightsError(f"model {name!r}: image_processor in {folder / file} is no JSON object")
            return file, images
    raise WeightsError(
        f"model {name!r}: no {PREPROCESSORS[0]} in {folder}; copy it from where the model is from: it says how images "
        "are resized and normalised"
    )


def _json(name: str, file: Path) -> dict[str, Any]:
    if not file.exists():
        raise WeightsError(
            f"model {name!r}: no {file.name} in {file.parent}, so it is no model in Hugging Face's format; "
            f"{_recipe(EXAMPLE)}"
        )
    try:
        content = load_json(file, HEADER)
    except DocumentError as error:
        raise WeightsError(
            f"model {name!r}: {file} cannot be read ({first_line(error)}); copy it again from where the model is from"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"model {name!r}: {file} holds no JSON object; copy it again from where the model is from")
    return content


def _fetched(name: str, tag: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = tag.partition("@")
    wanted = ["*.json", "vocab.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except Exception as error:
        raise WeightsError(
            f"model {name!r} could not be fetched from the hub ({first_line(error)}); where there is a network, "
            f"{_recipe(repository, then='copy DIR here')}"
        ) from error


def _recipe(source: str, *, then: str = "") -> str:
    """What to do to get a folder: transformers reads any format of weights and writes safetensors."""
    return (
        'run `python -c "from transformers import BlipForImageTextRetrieval as B, BlipProcessor as P; '
        f"[each.from_pretrained('{source}').save_pretrained('DIR') for each in (B, P)]\"`"
        f"{f', {then}' if then else ''} and use --model blip:DIR"
    )
