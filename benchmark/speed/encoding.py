"""encoding: images through the tower as the suite runs it, against the chip's matrix-product rate."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmark.speed.bench import Bench
from benchmark.speed.ceiling import matrix_product
from benchmark.speed.findings import Side, SpeedFinding, alternate
from benchmark.unlearning.cost import tower_flops
from benchmark.utils.hardware import autocast

BATCH = {"cpu": 32, "cuda": 512}
MODELS = {"cpu": ("ViT-B-32",), "cuda": ("ViT-B-32", "ViT-B-16", "ViT-L-14")}
REPEATS = 7
LEAST = 80.0
"""Per cent of the matrix-product rate, for ViT-B-32 and larger."""


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Each model in each precision; encoding and matrix products take turns."""
    for name in MODELS[bench.device.type]:
        clip = bench.architecture(name)
        flops, _ = tower_flops(clip)
        count, side = BATCH[bench.device.type], clip.preprocessing.image_size
        images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, device=bench.device)
        network_input = clip.preprocessing(images)
        for precision in bench.precisions:

            @torch.inference_mode()
            def encode(clip=clip, network_input=network_input, precision=precision) -> None:  # type: ignore[no-untyped-def]
                with autocast(precision, bench.device):
                    clip.encode_image(network_input)

            product, product_flops = matrix_product(bench, precision)
            encoding_seconds, ceiling = alternate(encode, product, bench.device, repeats=REPEATS)
            reached, possible = count * flops / encoding_seconds / 1e9, product_flops / ceiling / 1e9
            yield SpeedFinding(
                f"{name}, random weights, batches of {count}, {precision}",
                (
                    Side("matrix products", possible, "GFLOP/s"),
                    Side("encoding", reached, "GFLOP/s"),
                    Side("encoding", count / encoding_seconds, "images/s"),
                ),
                100 * reached / possible,
                "%",
                least=LEAST,
            )
