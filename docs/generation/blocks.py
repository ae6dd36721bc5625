"""Blocks of a page that are made when the site is built: `<!-- generated: NAME ARGUMENT -->`."""

from __future__ import annotations

import re
from collections.abc import Callable

from docs.generation import (
    attacks,
    boards,
    cards,
    commands,
    data,
    floors,
    loads,
    measures,
    membership,
    method_pages,
    originals,
    retrained,
    speed,
    tuning,
)

BLOCKS: dict[str, Callable[..., str]] = {
    "attacks": attacks.attacks_table,
    "boards": boards.suite_boards,
    "commands": commands.command_list,
    "command-pages": commands.command_pages,
    "families": measures.family_list,
    "findings": boards.findings_of,
    "family": measures.family_table,
    "derived": measures.family_table,
    "informative": boards.informative_table,
    "measures": measures.measures_named,
    "membership": membership.membership_table,
    "method-index": method_pages.method_index,
    "method-card": method_pages.method_card,
    "method-here": method_pages.method_here,
    "confirmed": boards.confirmed_table,
    "trust": boards.trust_table,
    "datasets": cards.dataset_table,
    "joint": retrained.joint_table,
    "joint-rule": boards.joint_rule,
    "loads": loads.loads_table,
    "suffixes": data.suffix_list,
    "torchvision": data.torchvision_table,
    "models": cards.model_table,
    "suites": cards.suite_table,
    "originals": originals.originals_table,
    "floors": floors.floors_table,
    "portraits": boards.portraits,
    "changes": boards.changes,
    "retrained": retrained.retrained_table,
    "sensitivity": tuning.sensitivity,
    "values-found": tuning.values_found,
    "speed": speed.speed_table,
}
MARKER = re.compile(r"^<!-- generated: ([\w-]+)(?: ([^>]*?))? -->$", re.MULTILINE)


def fill(markdown: str) -> str:
    """A page with its blocks in the place of their markers.

    Raises:
        LookupError: If a marker names no block, or its argument nothing that is there.
    """

    def made(match: re.Match[str]) -> str:
        if match[1] not in BLOCKS:
            raise LookupError(f"no block is called {match[1]!r}: use one of {', '.join(BLOCKS)}")
        return BLOCKS[match[1]](*([match[2]] if match[2] else []))

    return MARKER.sub(made, markdown)
