"""RMU: which states are read and which weights learn, the random target and the loss, against plain NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from fitting import fit, move
from tiny import tiny_clip

from datamodules.common.images import Preprocessing
from methods.common.clip import Clip
from methods.rmu import RMU, Hyperparameters, NoBlocksError, place_of


def on_meta(model: torch.nn.Module) -> Clip:
    return Clip(model, lambda texts: torch.zeros(len(texts), 1), Preprocessing(224), "untrained", "published")


def test_a_transformer_is_read_at_a_quarter_of_its_depth() -> None:
    with torch.device("meta"):
        place = place_of(on_meta(open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32"))))
    assert place.read == "visual.transformer.resblocks.3" and place.channels == -1
    assert place.weights == tuple(f"visual.transformer.resblocks.{block}.mlp.c_proj.weight" for block in (1, 2, 3))


def test_convolutions_are_read_where_their_stages_end() -> None:
    with torch.device("meta"):
        place = place_of(on_meta(open_clip.model.CLIP(**open_clip.get_model_config("RN50"))))
    assert place.read == "visual.layer4.2" and place.channels == 1
    assert place.weights == tuple(f"visual.layer4.{block}.conv3.weight" for block in (0, 1, 2))
    place = place_of(tiny_clip("timm"))
    assert (place.read, place.weights[-1]) == ("visual.trunk.blocks.1", "visual.trunk.blocks.1.conv2.weight")


def test_an_encoder_without_blocks_is_refused_in_words() -> None:
    model = torch.nn.Module()
    model.visual = torch.nn.Linear(3, 3)
    with pytest.raises(NoBlocksError, match="'untrained' has no blocks"):
        place_of(on_meta(model))


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_loss_is_two_mean_squares_of_the_read_states(kind: str, tmp_path: Path) -> None:
    seen: list[tuple[Any, float, list[np.ndarray]]] = []

    def states(clip: Clip, images: torch.Tensor) -> np.ndarray:
        outputs: list[torch.Tensor] = []
        block = clip.visual.transformer.resblocks[0] if kind == "vit" else clip.visual.layer4[0]
        handle = block.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
        with torch.no_grad():
            clip.encode_image(images)
        handle.remove()
        value = outputs[0].double().numpy()
        return value if kind == "vit" else np.moveaxis(value, 1, -1)  # channels last

    class Remembering(RMU):
        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            move(self.clip)
            loss = super().training_step(batch, index)
            parts = [(c, batch[p]["images"]) for c in (self.clip, self.original) for p in ("forget", "retain")]
            seen.append((batch, float(loss), [states(*part) for part in parts]))
            return loss

    h = Hyperparameters(batch_size=3, max_steps=2, learning_rate=0.0, steering=2.0, alpha=30.0)
    method = fit(Remembering, h, tiny_clip(kind), tmp_path)
    target = method.target.double().numpy().ravel()
    first = seen[0][2][2]
    norm = np.linalg.norm(first, axis=-1).mean()
    assert np.linalg.norm(target) == pytest.approx(2 * norm, rel=1e-4) and (target >= 0).all()
    assert method.report["mean_state_norm"] == pytest.approx(norm, rel=1e-4)
    for _, loss, (forget, retain, _, before) in seen:
        wanted = ((forget - target) ** 2).mean() + 30.0 * ((retain - before) ** 2).mean()
        assert loss == pytest.approx(wanted, rel=1e-4)


def test_only_the_named_matrices_move_and_states_go_where_they_are_sent(tmp_path: Path) -> None:
    start = tiny_clip("vit").model.state_dict()
    distances = []
    for steps in (1, 40):
        clip = tiny_clip("vit")
        method = fit(RMU, Hyperparameters(batch_size=6, max_steps=steps, learning_rate=3e-3, alpha=1.0), clip, tmp_path)
        moved = [name for name, value in clip.model.state_dict().items() if not torch.equal(value, start[name])]
        assert moved == ["visual.transformer.resblocks.0.mlp.c_proj.weight"]
        stored = method.data.train_dataloader().iterables["forget"].dataset.__getitems__([0, 1])["images"]
        images = clip.preprocessing(stored)
        distances.append(float((method.states(clip, images) - method.target).detach().square().mean()))
    assert distances[1] < 0.9 * distances[0]
