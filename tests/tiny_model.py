"""The CLIP of the small world (tests/world.py): the same to the last bit on every machine, and not trained anywhere.

It is a ResNet CLIP whose weights are drawn by a generator of whole numbers, but for the statistics of its batch norms
and its last layer. Those are committed beside this file: they were fitted once, in float64, to the small world's test
images, so that the model names shapes and colours by margins that no rounding reaches. A fit in the tests would not do:
it makes another model on another processor. `python tests/tiny_model.py` makes the committed file anew, which is needed
only where the small world's images or the sizes below change.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmark.models.compact import Architecture, ClipTokenizer, load_compact, save_compact
from datamodules.common.registry import open_dataset
from datamodules.shapes_world.captions import write_captions
from datamodules.shapes_world.vocabulary import TEMPLATES, VOCABULARY, sample_scenes
from methods.common.clip import Clip
from methods.common.projections import visual_projection

FITTED = Path(__file__).with_suffix(".safetensors")
VISION = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 32}
TEXT = {"context_length": 24, "width": 32, "heads": 2, "layers": 1}
ARCHITECTURE = Architecture(32, VISION, TEXT)
SEED = 1
RIDGE = 1e-4
STATISTICS = ("running_mean", "running_var")
SETS = {"shapes": "shape", "shapes_colours": "colour"}


def write_tiny_model(path: Path) -> None:
    """Write the model as a weights file of the project's own form."""
    model = _drawn()
    model.load_state_dict(load_file(FITTED), strict=False)
    save_compact(path, model.eval(), _token_ids(), ARCHITECTURE, {"recipe": "none"})


def _drawn() -> nn.Module:
    """Every parameter is drawn evenly about 0 (gains are 1, biases 0), by its name and shape alone."""
    model = ARCHITECTURE.build(vocabulary=len(_token_ids()))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "logit_scale":
                parameter.fill_(math.log(1 / 0.07))
            elif parameter.ndim < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                even = np.random.default_rng([SEED, zlib.crc32(name.encode())]).random(tuple(parameter.shape)) * 2 - 1
                parameter.copy_(torch.from_numpy(math.sqrt(3) * _spread(name, parameter) * even))
    return model


def _spread(name: str, parameter: Tensor) -> float:
    """The standard deviation of a parameter's values: activations keep their size through the layers."""
    if name == "token_embedding.weight":
        return 0.5
    if name == "positional_embedding":
        return 0.01
    return math.sqrt((2 if parameter.ndim == 4 else 1) / parameter[0].numel())


def _token_ids() -> Tensor:
    """The ids of all tokens that the small world's names, prompts and captions have."""
    texts = [t.format(name) for a, each in TEMPLATES.items() for t in each for name in VOCABULARY[a]]
    captions = write_captions(sample_scenes("tiny", 300), "t", short_forms=False)
    texts += [caption for five in captions for caption in five]
    texts += [f"a {name}" for names in VOCABULARY.values() for name in names]
    return torch.unique(ClipTokenizer(TEXT["context_length"])(texts))


# -- how the committed file was made ---------------------------------------------------------------------------


def fitted(cache: Path) -> dict[str, Tensor]:
    """Statistics of the batch norms and the last layer by which the model names the small world's test images."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.safetensors"
        save_compact(path, _drawn(), _token_ids(), ARCHITECTURE, {})
        clip = load_compact(path, "drawn")
    images, targets = [], []
    for name, attribute in SETS.items():
        split = open_dataset(name, None, cache, VISION["image_size"]).split("test")
        images.append(clip.preprocessing(split.images.read(range(len(split.images)))).double())
        with torch.no_grad():
            classes = clip.zero_shot_classifier(VOCABULARY[attribute], TEMPLATES[attribute]).double()
        # Rows whose product with their own class is about 1 and with every other about 0.
        dual = torch.linalg.solve(classes @ classes.T + 1e-3 * torch.eye(len(classes)), classes)
        targets.append(dual[torch.from_numpy(split.labels)])
    clip.model.double()
    found = _statistics(clip, torch.cat(images))
    with torch.no_grad(), visual_projection(clip).as_identity():
        features = clip.encode_image(torch.cat(images))
    centre = features.mean(dim=0)
    gram = (features - centre).T @ (features - centre)
    ridge = RIDGE * gram.trace() / len(gram) * torch.eye(len(gram))
    solved = torch.linalg.solve(gram + ridge, (features - centre).T @ torch.cat(targets))
    weight, bias = visual_projection(clip).state_names
    return {**found, weight: solved.T.half().contiguous(), bias: (-centre @ solved).half()}


def _statistics(clip: Clip, images: Tensor) -> dict[str, Tensor]:
    """Set the batch norms to what the images give them, layer by layer, and return that."""
    norms = {name: m for name, m in clip.model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in norms.values():
        norm.momentum = None  # the statistics of the one batch
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        clip.encode_image(images)
    clip.model.eval()
    return {f"{name}.{key}": getattr(norm, key).half() for name, norm in norms.items() for key in STATISTICS}


if __name__ == "__main__":
    from world import small_world

    with small_world(), tempfile.TemporaryDirectory() as made:
        save_file(fitted(Path(made)), FITTED)
