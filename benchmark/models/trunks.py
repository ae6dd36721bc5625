"""The image trunks of small CLIPs that timm does not have itself, registered with timm when this module is imported.

open_clip builds them by their names (`timm_model_name`), so whoever loads such a CLIP imports this file first. It needs
nothing but torch and timm, and an exported model carries a copy of it.

    clip_micro_trunk: 3x3 convolution to 32 channels at the full size; residual blocks of stride 2 to 64, 128 and 320
    channels; the mean over all places. 1.62 million parameters, 51.5 million multiplications for an image of 32 x 32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import is_model, register_model
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, beside the average of 2 x 2 places under a 1x1 convolution.

    The basic block of ResNet (He et al. 2016) with the shortcut of ResNet-D (He et al. 2019).

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, inputs, H, W) to (B, outputs, H / 2, W / 2), odd sides rounded up."""
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut_bn(self.shortcut(self.pool(x))))


class ResidualTrunk(nn.Module):
    """A convolution at the full size, residual blocks of stride 2, and the mean over all places.

    Args:
        stem: Channels of the first convolution.
        widths: Channels after each block.
    """

    def __init__(self, stem: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.default_cfg: dict[str, Any] = {}  # timm's wrapper asks for it
        self.num_features = widths[-1]
        self.stem = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(stem)
        pairs = zip((stem, *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(ResidualBlock(inputs, outputs) for inputs, outputs in pairs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def reset_classifier(self, num_classes: int) -> None:
        """The trunk has no classifier; open_clip asks to remove it.

        Raises:
            ValueError: If one is asked for.
        """
        if num_classes:
            raise ValueError("this trunk has no classifier: ask for num_classes=0")

    def forward(self, images: Tensor) -> Tensor:
        """Features, shape (B, widths[-1]), of network input of shape (B, 3, S, S)."""
        places: Tensor = self.blocks(torch.relu(self.stem_bn(self.stem(images))))
        return places.mean(dim=(2, 3))


def clip_micro_trunk(pretrained: bool = False, **_: Any) -> ResidualTrunk:
    """The trunk of `micro`; weights come with the CLIP, never alone."""
    return ResidualTrunk(32, (64, 128, 320))


def register_trunks() -> None:
    """Let timm, and so open_clip, build the trunks of this module by their names; again is harmless."""
    for trunk in (clip_micro_trunk,):
        if not is_model(trunk.__name__):
            register_model(trunk)


register_trunks()
