"""A local Stable Diffusion 1.x pipeline in diffusers' format: found, checked, loaded, and run with given seeds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.generation.prompts import Prompt
from benchmark.models.compact import file_sha256
from datamodules.common.documents import SMALL, DocumentError, load_json
from datamodules.common.errors import BenchmarkError
from methods.common.clip import Clip

PARTS_READ = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
"""The folders of a pipeline that are used; the safety checker's is not."""
_EXAMPLE = "hf download CompVis/stable-diffusion-v1-4 --local-dir pipelines/stable-diffusion-v1-4"


class GenerationError(BenchmarkError):
    """A pipeline or a setting of `generate` that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """How images are made.

    Attributes:
        images: How many a part (forgotten names, retained names), at least 1.
        steps: Denoising steps, at least 1.
        guidance: Scale of classifier-free guidance (Ho & Salimans, 2022), at least 0; up to 1 is none.
        seed: Of the first noise of all images, at least 0.
        batch: Images made at once, at least 1.
    """

    images: int
    steps: int
    guidance: float
    seed: int
    batch: int

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("steps", 1), ("guidance", 0), ("seed", 0), ("batch", 1)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < least:
                raise GenerationError(f"--{name} must be at least {least}, not {value:g}")


def require_extra() -> None:
    """Check that diffusers and transformers can be imported.

    Raises:
        GenerationError: If they cannot.
    """
    try:
        from diffusers import StableDiffusionPipeline  # noqa: F401
        from transformers import CLIPTextModel  # noqa: F401
    except (ImportError, RuntimeError) as error:  # diffusers turns a failed import of its own into a RuntimeError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise GenerationError(
            "generating images needs diffusers and transformers: install them with "
            f"`pip install -e '.[generation]'` ({reason})"
        ) from error


def pipeline_folder(name: str) -> Path:
    """The folder of a Stable Diffusion 1.x pipeline.

    Raises:
        GenerationError: If there is none of that name, or it holds something else.
    """
    folder = Path(name).expanduser()
    index = folder / "model_index.json"
    wanted = {index.name: index.is_file(), **{part: (folder / part).is_dir() for part in PARTS_READ}}
    missing = [name for name, there in wanted.items() if not there]
    if missing:
        what = f"has no {missing[0]}" if folder.is_dir() else "is not a folder here"
        raise GenerationError(
            f"--pipeline {name} {what}: download a Stable Diffusion 1.x pipeline in diffusers' format with "
            f"safetensors weights, for example by `{_EXAMPLE}`, and name that folder"
        )
    try:
        content = load_json(index, SMALL)
        kind, (_, encoder) = content["_class_name"], content["text_encoder"]
    except (DocumentError, ValueError, KeyError, TypeError) as error:
        raise GenerationError(f"{index} does not describe a pipeline ({type(error).__name__}: {error})") from error
    if (kind, encoder) != ("StableDiffusionPipeline", "CLIPTextModel"):
        raise GenerationError(
            f"{folder} holds a {kind} with a {encoder}: only a StableDiffusionPipeline with a CLIPTextModel "
            "(Stable Diffusion 1.x) takes the text tower of a CLIP"
        )
    return folder


def pipeline_identity(folder: Path) -> str:
    """sha256 over the names and contents of all files that make the images: weights, configurations, vocabulary."""
    digest = hashlib.sha256()
    for part in PARTS_READ:
        for path in sorted((folder / part).rglob("*")):
            if path.suffix in (".safetensors", ".json", ".txt"):
                digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def load_pipeline(folder: Path) -> Any:
    """Load a `StableDiffusionPipeline` on the CPU, fp32, from safetensors alone and without network.

    Raises:
        GenerationError: If a part is missing, damaged, or has no safetensors weights.
    """
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    try:
        # No safety checker: it puts a black image in the place of one that it dislikes, before and after unlearning
        # at different rates, and the judge would count it as a concept that is gone.
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise GenerationError(
            f"the pipeline in {folder} cannot be loaded ({type(error).__name__}: {reason}); it needs "
            f"{', '.join(PARTS_READ)}, with weights as safetensors"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.float32)


def check_tokenizer(pipeline: Any, clip: Clip, prompts: Sequence[Prompt]) -> None:
    """Check that the pipeline turns the prompts into the tokens that the model was trained with.

    transformers makes an empty tokenizer where its files are missing, without a word.

    Raises:
        GenerationError: If a prompt has other tokens in the pipeline.
    """
    tokenizer = pipeline.tokenizer
    longest = pipeline.text_encoder.config.max_position_embeddings
    if tokenizer.model_max_length > longest:
        raise GenerationError(
            f"the pipeline's tokenizer gives up to {tokenizer.model_max_length} tokens, its text encoder reads "
            f"{longest}: its tokenizer files are incomplete, download the pipeline again"
        )
    for text in dict.fromkeys(prompt.text for prompt in prompts):
        ids = tokenizer(text, truncation=True, max_length=tokenizer.model_max_length)["input_ids"]
        if ids != clip.tokens([text])[0, : len(ids)].tolist():
            raise GenerationError(
                f"the pipeline's tokenizer reads {text!r} as other tokens than {clip.name!r} does: its tokenizer "
                "files are incomplete or of another model, download the pipeline again"
            )


def generate(pipeline: Any, prompts: Sequence[Prompt], settings: Settings) -> Iterator[Tensor]:
    """Make the images of these prompts with the text encoder that the pipeline has now.

    Args:
        pipeline: A `StableDiffusionPipeline`.
        prompts: In order; each starts from the noise of its own seed, drawn on the CPU, so that it is the same in any
            batch and on any device.
        settings: Steps, guidance and batch size.

    Yields:
        Batches of images: uint8, shape (B, 3, H, W).

    Raises:
        GenerationError: If an image holds values that are not finite.
    """
    for start in range(0, len(prompts), settings.batch):
        chosen = prompts[start : start + settings.batch]
        output = pipeline(
            prompt=[prompt.text for prompt in chosen],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            generator=[torch.Generator("cpu").manual_seed(prompt.seed) for prompt in chosen],
            output_type="np",
        )
        if not np.isfinite(output.images).all():
            raise GenerationError(f"the pipeline made an image that is not finite from {chosen[0].text!r}")
        pixels = np.rint(output.images * 255).astype(np.uint8)
        yield torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
