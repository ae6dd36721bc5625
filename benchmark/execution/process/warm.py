"""What the server of processes reads once, so that no process that is forked from it reads it again."""

from __future__ import annotations

import torchvision.transforms.v2.functional  # noqa: F401 - what prepares images imports it when it first does so

from benchmark.models.compact import ClipTokenizer
from benchmark.models.open_clip_import import import_open_clip

import_open_clip()
ClipTokenizer(1)(["a"])
