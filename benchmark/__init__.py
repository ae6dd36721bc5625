"""A benchmark of methods that remove a class or a concept from a trained CLIP. `python -m benchmark --help`."""

__version__ = "0.1.0"
