"""The page: one HTML file that holds all it needs, with a policy that forbids any request."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.evaluation.catalogue import ARROWS, MEASURES
from benchmark.evaluation.measures.quality import RESIDUAL
from benchmark.report.averages import CAVEAT, averages
from benchmark.report.cards import RULE, cards
from benchmark.report.content import Content, board_data, curve_data, device_data, prediction_data, record_data
from benchmark.report.palette import LOOKS, UNKNOWN
from benchmark.report.published import Paper, pairs, papers
from benchmark.report.scatter_figures import QUALITIES, equal_quality
from benchmark.report.sensitivity import LEGEND, sensitivity_figures
from benchmark.utils.project import VERSION

LIMIT = 5_000_000
"""Bytes of the page, at most."""
_HERE = Path(__file__).parent
_LIBRARIES = ("d3.min.js", "plot.umd.min.js")
_SCRIPTS = (
    *("core.js", "parts.js", "overview.js", "table.js", "compare.js"),
    *("scatter.js", "plots.js", "devices.js", "cards.js", "start.js"),
)
_SHORTER: tuple[tuple[str, Callable[[dict[str, Any]], object]], ...] = (
    (
        "the metrics and the provenance of single records",
        lambda data: data.update(records=replace(data["records"], emptied=("metrics", "provenance", "cost"))),
    ),
    ("the curves", lambda data: data.update(curves={})),
    ("the boards of single requests", lambda data: [board.update(single={}) for board in data["boards"]]),
    ("the records' cards", lambda data: data.update(records=[])),
)
"""What is left out, one after another, where a page would be too large."""


def render(content: Content, limit: int = LIMIT) -> str:
    """The page.

    Args:
        content: What it shows.
        limit: Bytes; what does not fit is left out by the order of `_SHORTER`, and the page says so.
    """
    sources = papers(content.gathered.records)
    data = _data(content, sources)
    fixed = _fixed(content, sources)
    page = _render(fixed, data, [])
    left_out: list[str] = []
    for what, shorten in _SHORTER:
        if len(page.encode()) <= limit:
            break
        shorten(data)
        left_out.append(what)
        page = _render(fixed, data, left_out)
    return page


def _data(content: Content, sources: Sequence[Paper]) -> dict[str, Any]:
    return {
        "looks": {name: {"symbol": look.symbol, "means": look.means} for name, look in LOOKS.items()},
        "unknown": {"symbol": UNKNOWN.symbol, "means": UNKNOWN.means},
        "boards": board_data(content),
        "records": _Records(content),
        "curves": {key: curve_data(curves) for key, curves in content.extras.curves.items()},
        "predictions": prediction_data(content),
        "published": pairs(sources),
        "devices": device_data(content),
        "qualities": [[quality, equal_quality(quality)] for quality in QUALITIES],
        "residual": RESIDUAL,
        "cards": list(content.registry.names()),
    }


@dataclass(frozen=True)
class _Records:
    """The records' cards, each made when it is written: those of ten thousand records are never there at once.

    Attributes:
        content: What the page shows.
        emptied: Of each card, what is left out.
    """

    content: Content
    emptied: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for card in record_data(self.content):
            yield {**card, **{name: {} for name in self.emptied}}


def _render(fixed: Mapping[str, Any], data: Mapping[str, Any], left_out: Sequence[str]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(fixed, data=embedded(data), left_out=left_out)


def _fixed(content: Content, sources: Sequence[Paper]) -> dict[str, Any]:
    """What the templates show beside the data, and is never left out."""
    from markupsafe import Markup

    scripts = "\n".join(_script(_HERE / "static" / name) for name in _SCRIPTS)
    gathered, boards = content.gathered, [board.whole for board in content.boards]
    return {
        "style": Markup(_colours() + (_HERE / "static" / "style.css").read_text(encoding="utf-8")),
        "libraries": [Markup(_script(_HERE / "vendor" / name)) for name in _LIBRARIES],
        "script": Markup(f'(async () => {{\n"use strict";\n{scripts}}})();\n'),
        "version": VERSION,
        "records": len(gathered.records),
        "boards": content.boards,
        "notes": gathered.notes,
        "failures": gathered.failures,
        "looks": LOOKS,
        "cards": cards(content.registry, boards),
        "rule": RULE,
        "averages": averages([view.board for view in boards]),
        "caveat": CAVEAT,
        "devices": content.devices,
        "sensitivity": sensitivity_figures(gathered.trials),
        "legend": LEGEND,
        "papers": sources,
        "measures": MEASURES,
        "arrows": ARROWS,
    }


def embedded(data: Mapping[str, Any]) -> str:
    """JSON as gzip in base 64: a quarter of its size, and no sign in it can end a script element.

    What is a list is written entry by entry: the text of ten thousand records is never held as a whole.
    """
    packer = zlib.compressobj(6, wbits=16 + zlib.MAX_WBITS)  # with the head and tail of gzip, without a time
    packed = [packer.compress(part.encode()) for part in _json_parts(data)]
    return base64.b64encode(b"".join((*packed, packer.flush()))).decode()


def _json_parts(data: Mapping[str, Any]) -> Iterator[str]:
    def text(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)

    for place, (name, value) in enumerate(data.items()):
        yield f"{',' if place else '{'}{text(name)}:"
        if isinstance(value, list | _Records):
            yield "["
            for number, entry in enumerate(value):
                yield f"{',' if number else ''}{text(entry)}"
            yield "]"
        else:
            yield text(value)
    yield "}"


def _script(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError(f"{path.name} cannot stand in a script element")
    return text


def _colours() -> str:
    """The regimes' colours as properties of the page, for both grounds."""
    looks = {**LOOKS, "unknown": UNKNOWN}

    def properties(ground: str) -> str:
        return "".join(f"--{name.replace('+', '-')}:{getattr(look, ground)};" for name, look in looks.items())

    light, dark = properties("light"), properties("dark")
    return (
        f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}\n"
    )
