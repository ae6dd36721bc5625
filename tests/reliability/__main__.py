"""`python -m tests.reliability`: the long campaign, area by area, with its counts."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.reliability.areas import AREAS, load_area


def main() -> int:
    """Run the campaign; status 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("areas", nargs="*", help=f"of {', '.join(AREAS)}; all by default")
    parser.add_argument("--count", type=int, default=None, help="about so many cases an area")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.areas) - set(AREAS))
    if unknown:
        parser.error(f"unknown area {unknown[0]!r}: use {', '.join(AREAS)}")
    broken = 0
    for name in chosen.areas or AREAS:
        start, cases, failed = time.monotonic(), load_area(name).cases(chosen.count), 0
        for case in cases:
            with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
                try:
                    wrong = case.run(Path(folder))
                except Exception as error:  # noqa: BLE001 - a case that cannot be run is a broken promise too
                    wrong = f"{type(error).__name__}: {error}"
            if wrong:
                failed += 1
                print(f"BROKEN {name}: {case.name}: {wrong}", flush=True)
        broken += failed
        print(f"{name}: {failed} of {len(cases)} broken, {time.monotonic() - start:.0f} s", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
