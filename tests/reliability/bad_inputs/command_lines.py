"""Command lines: empty options of every command, numbers out of range, names that do not exist, odd settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from benchmark.cli.arguments import arguments_of
from benchmark.cli.parser import COMMANDS, command_function
from tests.reliability.bad_inputs.asking import Arguments, Bad, run

POSITIONAL: dict[str, Arguments] = {
    "tables": ["lip"],
    "list": ["methods"],
    "verify": ["0123abcd"],
    "export": ["0123abcd", "target"],
    "measure": ["linear_probe"],
    "pack": ["quick"],
    "generate": ["0123abcd", "--pipeline", "nowhere"],
    "tune": ["ccup"],
    "check": ["nowhere.py"],
    "pretrain": ["shapes-resnet"],
    "download": ["cifar100"],
}
NO_NUMBERS = ("-1", "nan", "inf", "many", "99999999999999999999", "1e999")
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("--methods", "cliperace"),
    ("--methods", "original,,nullspace"),
    ("--methods", "original", "--methods", "nulspace"),
    ("--methods", "\u202eoriginal"),
    ("--methods", "\x1b[31mred"),
    ("--methods", "=1+1"),
    ("--methods", "original;nullspace"),
    ("--suite", "quik"),
    ("--suite", "none.yaml"),
    ("--suite", "/dev/null.yaml"),
    ("--suite", "../../etc/passwd"),
    ("--model", "shapes-resnt"),
    ("--model", "ViT-B-32/openia"),
    ("--model", "ViT-B-33/openai"),
    ("--model", "nowhere.safetensors"),
    ("--model", "ViT-B-32:nowhere.pt"),
    ("--model", ":"),
    ("--model", "/"),
    ("--model", "ViT-B-32:"),
    ("--model", "ViT-B-32/"),
    ("--model", "blip:"),
    ("--plugin", "nowhere.py"),
    ("--plugin", "/tmp"),
    ("--plugin", "/dev/zero"),
    ("--plugin", "x" * 5000 + ".py"),
    ("--set", "nullspace"),
    ("--set", "nullspace.alpha"),
    ("--set", "=3"),
    ("--set", ".alpha=3"),
    ("--set", "nullspace.=3"),
    ("--set", "nullspace.alpha="),
    ("--set", "nullspace.alpha=much"),
    ("--set", "nullspace.alpha=2"),
    ("--set", "nullspace.alpha=-1e-9"),
    ("--set", "nullspace.alpha=1e999"),
    ("--set", "nullspace.alpha=.nan"),
    ("--set", "nullspace.alpha=.inf"),
    ("--set", "nullspace.alpha=true"),
    ("--set", "nullspace.alpha=no"),
    ("--set", "nullspace.alpha=null"),
    ("--set", "nullspace.alpha=[0.5]"),
    ("--set", "nullspace.alpha={a: 1}"),
    ("--set", "nullspace.alpha={"),
    ("--set", "nullspace.alpha=1:30"),
    ("--set", "nullspace.alpha=010"),
    ("--set", "nullspace.alpha=2020-01-01"),
    ("--set", "nullspace.alpha=!!python/object/apply:os.getcwd []"),
    ("--set", "nullspace.alpha=&a [*a]"),
    ("--set", "nullspace.alpha=" + "[" * 3000),
    ("--set", "nullspace.alpha=" + "9" * 5000),
    ("--set", "nullspace.alpha=0.1", "--set", "nullspace.alpha=0.2"),
    ("--set", "cliperase.batch_size=2.5", "--methods", "cliperase"),
    ("--set", "cliperase.batch_size=0", "--methods", "cliperase"),
    ("--set", "cliperase.forgetting=sine", "--methods", "cliperase"),
    ("--set", "cliperace.epochs=1"),
    ("--set", "ccup.forget_wait=1", "--methods", "ccup"),
    ("--shard", "3/2"),
    ("--shard", "0/2"),
    ("--shard", "half"),
    ("--shard", "1/²"),
    ("--shard", "1/0"),
    ("--shard", "-1/2"),
    ("--shard", "1/2/3"),
    ("--shard", "1/" + "9" * 5000),
    ("--seeds", "0,x"),
    ("--seeds", "-1"),
    ("--seeds", "1.5"),
    ("--seeds", "²"),
    ("--seeds", "٣"),
    ("--seeds", "0,,1"),
    ("--seeds", str(2**63)),
    ("--seeds", "9" * 5000),
    ("--keys", "ffffffffffff"),
    ("--keys", "zz"),
    ("--all", "--methods", "original"),
    ("--colour", "red"),
    ("--nullspace.alpha", "3"),
    ("--wandb", "perhaps"),
    ("--precision", "fp8"),
    ("--precision", "FP32"),
    ("--device", "toaster"),
    ("--device", "mps"),
    ("--device", "meta"),
    ("--device", "cuda:99"),
    ("--device", "cuda:-1"),
    ("--device", "cpu:3"),
    ("--device", "cuda:x"),
    ("--executor", "slurm"),
    ("--address", "auto"),
    ("--devices", "0"),
    ("--devices", "2000"),
    ("--devices", "2", "--strategy", "fsdp"),
    ("--strategy", "ddp"),
    ("--tuned-values", "nowhere.yaml"),
    ("--results", "/dev/null"),
    ("--results", "/proc/nowhere"),
    ("--cache-dir", "/dev/null"),
    ("--results", "x" * 5000),
    ("--suite",),
    ("stray",),
)
LINES: tuple[tuple[str, ...], ...] = (
    (),
    ("walk",),
    ("", ""),
    ("list",),
    ("list", "shops"),
    ("list", "methods", "models"),
    ("verify",),
    ("verify", "ffffffffffff"),
    ("verify", "nowhere.json"),
    ("verify", "/tmp.json"),
    ("export", "ffffffffffff", "/dev/null"),
    ("measure", "linear_prob"),
    ("measure", "linear_probe", "--device", "cuda:99"),
    ("tables", "liip"),
    ("tables", "lip", "--format", "pdf"),
    ("leaderboard", "--format", "pdf"),
    ("leaderboard", "--metric", "score/kravets"),
    ("leaderboard", "--compare", "a"),
    ("leaderboard", "--results", "/dev/null"),
    ("leaderboard", "--reference", "--suite", "quik"),
    ("leaderboard", "--reference", "--compare", "lip", "lipp"),
    ("report", "--out", "/dev"),
    ("report", "--own", "--reference"),
    ("tune",),
    ("tune", "original"),
    ("tune", "ccup", "--all"),
    ("tune", "ccup", "--model", "ViT-B-32/openai"),
    ("tune", "ccup", "--model", "shapes-vit,shapes-resnet"),
    ("check", "nowhere.py"),
    ("check", "/dev/zero"),
    ("check", "/tmp"),
    ("pretrain", "shapes-vt"),
    ("pretrain", "shapes-resnet", "--device", "cuda:99"),
    ("pretrain", "shapes-resnet", "--exclude", "{"),
    ("pretrain", "shapes-resnet", "--exclude", ","),
    ("pretrain", "shapes-resnet", "--exclude", "[shapes]"),
    ("pretrain", "shapes-resnet", "--exclude", "{shapes: {classes: star}}"),
    ("pretrain", "shapes-resnet", "--precision", "fp8"),
    ("download", "cifar99"),
    ("speed", "--only", "lip_stop"),
    ("speed", "--json", "/nowhere/x.json"),
    ("speed", "--device", "cuda:99"),
    ("generate", "0123abcd"),
    ("generate", "0123abcd", "--pipeline", "nowhere"),
)


def bad_inputs() -> Iterator[Bad]:
    for options in OPTIONS:
        yield Bad(f"run {_short(options)}", lambda folder, options=options: run(folder, *options))
    for words in LINES:
        yield Bad(f"line {_short(words)}", lambda folder, words=words: list(words))
    for name in COMMANDS:
        for argument in arguments_of(command_function(name)):
            if argument.positional or argument.name == "compare":
                continue
            if any(kind in (str, Path) for kind in (argument.kind, *get_args(argument.kind))) or argument.several:
                for empty in ("", "," if argument.several else " "):
                    yield _with(name, argument.flag, empty)
            if any(kind in (int, float) for kind in (argument.kind, *get_args(argument.kind))) and not argument.several:
                for number in NO_NUMBERS:
                    yield _with(name, argument.flag, number)
    yield Bad("a null character in a path", lambda folder: run(folder, "--results", "a\0b"))
    yield Bad("half a surrogate pair in a path", lambda folder: run(folder, "--plugin", folder / "\ud800.py"))
    yield Bad("an output that is a folder", _output_folder)


def _with(name: str, flag: str, value: str) -> Bad:
    line = [name, *POSITIONAL.get(name, []), flag, value]
    return Bad(f"{name} {flag} {value!r}", lambda folder: line)


def _output_folder(folder: Path) -> Arguments:
    return ["report", "--results", folder, "--out", folder]


def _short(words: tuple[str, ...]) -> str:
    return (
        " ".join(word if len(word) < 60 else f"{word[:40]}...({len(word)})" for word in words)
        .encode("unicode_escape")
        .decode()
    )
