"""What the server of processes reads once, so that no process that is forked from it reads it again."""

from __future__ import annotations

from benchmark.models.compact import ClipTokenizer

ClipTokenizer(1)(["a"])
