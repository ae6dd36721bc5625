"""An untrained open_clip model, from an architecture's name or from a configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from benchmark.models.compact import TRUNK
from benchmark.models.open_clip_import import import_open_clip
from benchmark.models.tensor_files import WeightsError
from benchmark.models.tokenizers import CONFIG, EXTRA
from benchmark.models.transformers_config import register_trunk


def built(
    config: Mapping[str, Any],
    name: str,
    *,
    device: str = "cpu",
    images: Mapping[str, Any] | None = None,
    text_folder: Path | None = None,
) -> nn.Module:
    """A model of random weights, in fp32; on the device "meta" of none, which takes no memory.

    Args:
        config: open_clip's `model_cfg`.
        name: The model as the user named it, for messages.
        device: "cpu" or "meta".
        images: open_clip's `preprocess_cfg`, kept with the model; what it leaves out is what open_clip takes.
        text_folder: A folder in which the configuration of a text tower of transformers may be, so that it need not be
            fetched.

    Raises:
        WeightsError: If open_clip cannot build it.
    """
    import_open_clip()
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP, set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    fields = deepcopy(dict(config))
    custom = bool(fields.pop("custom_text", False))
    try:
        vision, text = fields["vision_cfg"], fields["text_cfg"]
        if TRUNK in vision:
            _register(str(vision[TRUNK]))
            vision["timm_model_pretrained"] = False
        if "hf_model_name" in text:
            custom, text["hf_model_pretrained"] = True, False
            if text_folder is not None and (text_folder / CONFIG).is_file():
                text["hf_model_name"] = str(text_folder)
        kind = CoCa if custom and "multimodal_cfg" in fields else CustomTextCLIP if custom else CLIP
        with quiet(), torch.device(device):
            model = cast(nn.Module, kind(**fields))
        model.float()
        about = merge_preprocess_dict(vars(PreprocessCfg()), dict(images or {}))
        side = getattr(model.visual, "image_size", None)
        set_model_preprocess_cfg(model, {**about, "size": side} if side is not None else about)
    except WeightsError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = _advice(first, config.get("text_cfg", {}), text_folder)
        raise WeightsError(
            f"model {name!r}: open_clip cannot build it ({type(error).__name__}: {first}){advice}"
        ) from error
    return model


def _advice(message: str, text: Mapping[str, Any], folder: Path | None) -> str:
    """What helps where a text tower of transformers cannot be built; empty for what else is wrong."""
    if "pip install transformers" in message:
        return f"; {EXTRA}"
    source = text.get("hf_model_name")
    if not source or (folder is not None and (folder / CONFIG).is_file()):
        return ""
    return (
        f": without a network, copy {source}'s {CONFIG} and its tokenizer's files into a folder and use --tokenizer DIR"
    )


def _register(trunk: str) -> None:
    """Let timm build the trunks that it does not have itself."""
    from benchmark.models.trunks import register_trunks

    register_trunks()
    register_trunk(trunk)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning that weights are random: that is what is asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
