"""Methods of the usual kinds, each in one small class: what they may do beside gradient steps on a whole tower."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from tiny import APPLE, TinyDataset, tiny_clip
from torch import Tensor

from benchmark.unlearning.unlearn import Unlearned, unlearn
from methods.common.added import added_modules
from methods.common.base import UnlearningMethod
from methods.common.card import ContractError, MethodCard
from methods.common.clip import Clip
from methods.common.needs import why_not

MLP = "visual.transformer.resblocks.*.mlp"


@dataclass(frozen=True)
class H:
    learning_rate: float = 0.01
    batch_size: int = 4
    max_steps: int = 4
    validate_every: int = 2


def card(edits: tuple[str, ...] = ("nothing",), **more: Any) -> MethodCard:
    return MethodCard("mine", "mine", "me", more.pop("regime", "forget+retain"), edits, **more)


class Steps(UnlearningMethod[H]):
    """Pushes forget pairs apart."""

    card = card(("visual",))

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        return -self.pair_loss(batch["forget"])


def run(kind: type[UnlearningMethod[Any]], h: H | None = None, *, clip: Clip | None = None) -> Unlearned:
    dataset = TinyDataset(cache_dir=Path("/nowhere"))
    return unlearn(kind, h or H(), clip or tiny_clip("vit"), dataset, APPLE, seed=0)


def test_lora_left_unmerged_and_merged_answer_alike() -> None:
    class Left(Steps):
        card = card(adds=(f"{MLP}.c_fc",))
        merges = False

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            torch.manual_seed(0)
            assert len(self.add("low_rank", f"{MLP}.c_fc", rank=2)) == 4 == len(self.editable_parameters())

        def on_train_end(self) -> None:
            if self.merges:
                self.merge_added()

    class Merged(Left):
        merges = True

    left, merged = run(Left), run(Merged)
    assert len(left.edited) == 4 and all("added_low_rank" in name for name in left.edited)
    assert left.edited_bytes == sum(left.clip.model.state_dict()[n].numel() * 4 for n in left.edited)
    assert merged.edited == tuple(f"visual.transformer.resblocks.{k}.mlp.c_fc.weight" for k in (0, 1))
    assert not added_modules(merged.clip.model)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        one, other, before = (c.encode_image(images) for c in (left.clip, merged.clip, tiny_clip("vit")))
    assert torch.allclose(one, other, atol=1e-4) and not torch.allclose(one, before, atol=1e-3)


def test_a_head_of_one_s_own_stays() -> None:
    class Head(Steps):
        card = card(adds=("visual",))

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.add("linear", "visual")

    assert run(Head).edited == ("visual.added_linear_bias", "visual.added_linear_weight")


def test_a_single_block_by_a_glob_pattern_and_logit_scale_alone() -> None:
    class Block(Steps):
        card = card(("visual.transformer.resblocks.1.*",))

    class Scale(Steps):
        card = card(("logit scale",))

    assert all(name.startswith("visual.transformer.resblocks.1.") for name in run(Block).edited)
    assert run(Scale).edited == ("logit_scale",)
    assert why_not(Block.card, tiny_clip("resnet")) == "it has no tensor visual.transformer.resblocks.1.*"
    assert why_not(Block.card, tiny_clip("vit")) == ""


def test_early_stopping_on_images_held_out_of_the_train_split() -> None:
    trained, validated, seen = set[int](), set[int](), list[float]()

    class Stops(Steps):
        def on_fit_start(self) -> None:
            self.data.validation(batches=1)

        def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
            trained.update(index for pairs in batch.values() for index in pairs["indices"].tolist())
            return super().training_step(batch, index)

        def validation_step(self, batch: dict[str, Any], index: int) -> None:
            validated.update(index for pairs in batch.values() for index in pairs["indices"].tolist())
            seen.append(float(len(seen)))
            self.log("worse", seen[-1], batch_size=4)

        def configure_callbacks(self) -> list[Callback]:
            return [EarlyStopping("worse", patience=2)]

    run(Stops, H(max_steps=50))
    assert len(seen) == 3, "the first value is the best; two worse ones end it"
    assert trained and validated and not trained & validated


def test_raw_images_and_accumulation() -> None:
    kinds, steps = set[tuple[torch.dtype, int]](), list[int]()

    @dataclass(frozen=True)
    class Accumulates(H):
        accumulate_grad_batches: int = 2

    class Raw(Steps):
        raw_images = True

        def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
            pairs = batch["forget"]
            kinds.add((pairs["images"].dtype, int(pairs["images"].max())))
            steps.append(self.global_step)
            images = self.network_input(pairs["images"].flip(-1))
            assert torch.equal(images, self.clip.preprocessing(pairs["images"]).flip(-1))
            return -self.pair_loss({**pairs, "images": images})

    run(Raw, Accumulates())
    assert {kind for kind, _ in kinds} == {torch.uint8} and max(largest for _, largest in kinds) > 200
    assert steps == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("kind", "at", "says"),
    [
        ("low_rank", "text.*", "has no such module"),
        ("low_rank", "visual.ln_post", "its card declares"),
        ("low_rank", "visual.transformer.resblocks.0.attn.out_proj", "never calls"),
        ("gate", "visual.transformer.resblocks.0.mlp", "use low_rank, bottleneck, linear"),
    ],
)
def test_what_cannot_be_added_is_told_with_the_method_s_name(kind: str, at: str, says: str) -> None:
    class Adds(Steps):
        card = card(adds=("visual.transformer.*",))

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.add(kind, at, rank=2)

    with pytest.raises(ContractError, match=says) as told:
        run(Adds)
    assert str(told.value).startswith("method 'mine'")


def test_cards_take_patterns_and_nothing_else() -> None:
    for edits in (("visuals",), ("visual; text",), ("",), ("vision tower",)):
        with pytest.raises(ContractError, match="glob patterns"):
            card(edits)
    with pytest.raises(ContractError, match="adds"):
        card(adds=("two words",))
    assert card(("visual.ln_post.weight", "logit_scale")).edits == ("visual.ln_post.weight", "logit_scale")
