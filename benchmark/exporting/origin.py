"""Where an exported model comes from: its name in a model hub and its licence, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.models.model_folder import HUB, LOCAL
from benchmark.models.naming import built_architecture, parse_model
from benchmark.models.registry import recipe_names, shipped_models


@dataclass(frozen=True)
class Origin:
    """Where the model comes from.

    Attributes:
        base: The original's name in a model hub, or as this project names it; no path of a machine.
        licence: An identifier of the model hub; "other" where it is not known here.
        hub: The original's name in the Hugging Face hub, ORG/NAME; empty where it has none there, or none is known.
    """

    base: str
    licence: str
    hub: str = ""


def origin_of(model: str) -> Origin:
    """The origin of a model.

    The small CLIPs of this project are under its licence (MIT), OpenAI's weights under OpenAI's (MIT, its repository);
    of other weights the licence is not known here.

    Args:
        model: As a record names it.
    """
    if model in shipped_models():
        return Origin(model, "mit")
    architecture, tag, path = parse_model(model)
    if architecture == HUB:
        name = tag.partition("@")[0]
        return Origin(name, "other", name)
    if architecture == LOCAL:
        return Origin(Path(path or "").name, "other")
    if path is not None:
        known = architecture == "compact" and path.stem in recipe_names()
        base = path.name if architecture == "compact" else f"{architecture} ({Path(path).name})"
        return Origin(base, "mit" if known else "other")
    import open_clip

    about = open_clip.get_pretrained_cfg(built_architecture(architecture, tag), tag) or {}
    hub = "/".join(str(about.get("hf_hub") or "").strip("/").split("/")[:2])
    return Origin(hub or f"{architecture}/{tag}", "mit" if tag == "openai" else "other", hub)
