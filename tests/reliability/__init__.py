"""The reliability campaign: tables of cases by kind, each a promise that the benchmark must keep whatever breaks.

An area is a module of this folder with two functions:

    cases(count: int | None) -> list[Case]     all kinds of the area; with a count, about so many cases (seeded draws)
    FAST: frozenset[str]                       names of the cases that the suite runs; each takes a second or so

`tests/reliability/test_reliability.py` runs the fast ones; `python -m tests.reliability [AREA ...] [--count N]` the
long campaign, and prints its counts.
"""
