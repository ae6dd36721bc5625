"""`speed`: measure the suite's speed on this machine, as ratios within one run."""

from __future__ import annotations

import json as json_module

from benchmark.cli.options import Device, Folders, NameList, WhereFile
from benchmark.utils.folders import check_cache
from datamodules.common.errors import BenchmarkError, UnknownNameError
from datamodules.common.kept_files import replace_file


def speed_command(
    *,
    only: NameList = (),
    json: WhereFile | None = None,
    history: WhereFile | None = None,
    folders: Folders,
    hardware: Device,
) -> int:
    """Measure the suite's speed on this machine: ratios to plain loops, to another package, and to the chip's ceiling.

    Both sides of a ratio take turns in one run, so other load on the machine meets both. A measurement that needs a
    package or images that are not here is left out, with the reason.

    Args:
        json: Write the findings to this file too, after each finding; what is stopped keeps what it found.
        history: Add the findings to this file, one line a run with the commit, and say what is slower than in the last
            line of such a machine.
        only: Measurements, separated by commas: ceiling, encoding, lip_step, gradient_step, synthetic_images, overhead,
            leaderboard, memory, projection_edits, evaluation.
    """
    from benchmark.speed.report import MEASUREMENTS, headline, lines, machine, module, summary

    chosen = only or tuple(MEASUREMENTS)
    for name in chosen:
        if name not in MEASUREMENTS:
            raise UnknownNameError("measurement", name, MEASUREMENTS)
    if json is not None and not json.resolve().parent.is_dir():
        raise BenchmarkError(f"--json {json}: there is no folder {json.resolve().parent}; make it first")
    if history is not None and not history.resolve().parent.is_dir():
        raise BenchmarkError(f"--history {history}: there is no folder {history.resolve().parent}; make it first")
    from benchmark.speed.bench import Bench
    from benchmark.speed.findings import LeftOutError, SpeedFinding
    from benchmark.speed.history import append, line_of, read_history, slower
    from benchmark.utils.hardware import resolve_device
    from benchmark.utils.trainer import quiet_lightning

    runs = [] if history is None else read_history(history)
    bench = Bench(resolve_device(hardware.device), folders.data_dir, folders.cache)
    check_cache(bench.cache_dir)
    quiet_lightning()
    about = machine(bench.device)
    print(headline(about))
    measured: dict[str, list[SpeedFinding]] = {}
    left_out: dict[str, str] = {}

    def keep() -> None:
        if json is not None:
            findings = {name: [finding.to_dict() for finding in group] for name, group in measured.items()}
            content = {"machine": about, "findings": findings, "left_out": left_out}
            replace_file(json, (json_module.dumps(content, indent=1, sort_keys=True) + "\n").encode())

    for name in chosen:
        print(f"\n{name}: {MEASUREMENTS[name]}", flush=True)
        try:
            for finding in module(name).measure(bench):
                measured.setdefault(name, []).append(finding)
                keep()
                print("\n".join(lines(finding)), flush=True)
        except LeftOutError as reason:
            left_out[name] = str(reason)
            print(f"  left out: {reason}", flush=True)
        keep()
    print(f"\n{summary([finding for group in measured.values() for finding in group], list(left_out))}")
    if history is not None:
        now = line_of(about, measured)
        for line in slower(runs, now):
            print(f"slower than before: {line}")
        append(history, now)
    return 0
