"""Whether a method can serve a request on any model: by its card alone, without PyTorch."""

from __future__ import annotations

from datamodules.common.image_request import chooses_images
from datamodules.common.request import ForgetRequest
from methods.common.card import MethodCard

NAMES = "names to forget"
"""What a request must give to a method whose card needs it, or which reads names alone."""


def why_not_asked(card: MethodCard, request: ForgetRequest) -> str:
    """Why a method cannot serve a request on any model, in words; empty where it can.

    Args:
        card: The method's.
        request: What is to be forgotten.
    """
    if not chooses_images(request):
        return ""
    if card.regime == "pretraining":
        return "models are trained again without classes or concepts, not without chosen images"
    if not request.names and (card.regime == "names" or NAMES in card.needs):
        return "it works on the names to forget, and the request chooses images without any: add classes or a concept"
    return ""
