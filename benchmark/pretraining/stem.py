"""A vision tower's first convolution as a whitening of image patches, which a training need not find again.

    w_{2k}, w_{2k+1} = +- v_k / sqrt(lambda_k + eps)

v_k are the leading eigenvectors of the covariance of the patches that the convolution sees, lambda_k their eigenvalues
(Jordan, "94% on CIFAR-10 in 3.29 seconds", arXiv 2404.00498, section 3.2; eps is its official code's). Both signs,
because a rectifier follows. The stem goes on learning from there (our choice; there it is frozen).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 5e-4


@torch.no_grad()
def whiten_stem(visual: nn.Module, images: Tensor) -> None:
    """Set the convolution that sees the pixels, in place.

    Args:
        visual: A vision tower whose first convolution has at most twice as many filters as a patch has values.
        images: Network input, some hundred images of the corpus, shape (B, 3, S, S).

    Raises:
        ValueError: If there is no such convolution.
    """
    stem = next((module for module in visual.modules() if sees_pixels(module)), None)
    if not isinstance(stem, nn.Conv2d) or stem.out_channels % 2 or stem.out_channels > 2 * stem.weight[0].numel():
        raise ValueError(
            "whitened_stem needs a first convolution of an even number of filters, two a direction at most"
        )
    patches = functional.unfold(images, stem.kernel_size).transpose(1, 2).flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(patches.T.cov())
    count = stem.out_channels // 2
    leading = (vectors / (values.clamp_min(0) + EPS).sqrt()).T.flip(0)[:count]
    signs = leading.new_tensor([1.0, -1.0])[:, None]
    stem.weight.copy_((leading[:, None] * signs).flatten(0, 1).view(stem.weight.shape))


def sees_pixels(module: nn.Module) -> bool:
    """Whether a module is a convolution over the three colours of the images."""
    return isinstance(module, nn.Conv2d) and module.in_channels == 3
