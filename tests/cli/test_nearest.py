"""Wrong names: the nearest right one, for every option that takes a name; and examples that work."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from world import Answer, World, command, small_world, write_plugin

from benchmark.cli.examples import EXAMPLES
from benchmark.cli.parser import COMMANDS, build_parser
from benchmark.utils.suggestions import near_file, near_keys
from datamodules.common.errors import UnknownNameError, nearest

pytest_plugins = ("world",)
GENERATE = ("generate", "KEY", "--pipeline", "nowhere", "--judge")

# what is typed, what is meant; KEY is a record's key, MISKEY its beginning with a slip, RESULTS its folder
WRONG = [
    (("rnu",), "'run'"),
    (("leader-board",), "'leaderboard'"),
    (("run", "--methdos", "lip"), "'--methods'"),
    (("run", "--sutie", "quick"), "'--suite'"),
    (("run", "--save-weight-s",), "'--save-weights'"),
    (("run", "--wandb", "offlin"), "'offline'"),
    (("run", "--methods", "ccupp"), "'ccup'"),
    (("run", "--methods", "CCUP"), "'ccup'"),
    (("run", "--methods", "gradient-ascend"), "'gradient_ascent'"),
    (("run", "--suite", "cifar-100"), "'cifar100'"),
    (("run", "--suite", "HERE/tniy.yaml"), "'tiny.yaml'"),
    (("run", "--model", "Shapes-Resnet"), "'shapes-resnet'"),
    (("run", "--model", "vit-b-32/openai"), "'ViT-B-32'"),
    (("run", "--model", "ViT-B-32/laion2b"), "'laion2b"),
    (("run", "--set", "cliperace.max_steps=3"), "'cliperase'"),
    (("run", "--methods", "ccup", "--set", "ccup.forget_wieght=3"), "'forget_weight'"),
    (("run", "--suite", "HERE/tiny.yaml", "--keys", "MISKEY"), "KEY12"),
    (("plan", "--suite", "quikc"), "'quick'"),
    (("plan", "--methods", "lipp"), "'lip'"),
    (("leaderboard", "--suite", "tinny", "--results", "RESULTS"), "'tiny'"),
    (("leaderboard", "--format", "tabel", "--results", "RESULTS"), "'table'"),
    (("leaderboard", "--compare", "orginal", "nullspace", "--results", "RESULTS"), "'original'"),
    (("leaderboard", "--compare", "original", "nullspace", "--metric", "retain/ac1", "--results", "RESULTS"),
     "'retain/acc1'"),
    (("tables", "clip-erase"), "'cliperase'"),
    (("list", "method"), "'methods'"),
    (("list", "data-sets"), "'datasets'"),
    (("verify", "MISKEY", "--results", "RESULTS"), "KEY12"),
    (("verify", "RESULTS/tiny/KEY.jsom.json", "--results", "RESULTS"), "KEY.json"),
    (("export", "MISKEY", "nowhere", "--results", "RESULTS"), "KEY12"),
    (("measure", "linear-prob", "--results", "RESULTS"), "'linear_probe'"),
    (("measure", "linear_probe", "--suite", "tinny", "--results", "RESULTS"), "'tiny'"),
    (("generate", "MISKEY", "--pipeline", "nowhere", "--results", "RESULTS"), "KEY12"),
    (("check", "HERE/strnger.py"), "'stranger.py'"),
    (("check", "HERE/stranger.py", "--model", "shapes-resnt"), "'shapes-resnet'"),
    (("pretrain", "shapes_resnet"), "'shapes-resnet'"),
    (("pretrain", "mini", "--precision", "bf-16"), "'bf16'"),
    (("pretrain", "shapes-resnet", "--exclude", "{shapess: {classes: [star]}}"), "'shapes'"),
    (("pretrain", "shapes-resnet", "--exclude", "{shapes: {classes: [sttar]}}"), "'star'"),
    (("download", "cifar-10"), "'cifar100'"),
    (("download", "Flickr30k"), "'flickr30k'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_wrong_name_is_answered_with_the_nearest(
    finished: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...], meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIP_UNLEARNING_CACHE", str(finished.cache))
    shutil.copy(finished.suite, tmp_path / "tiny.yaml")
    write_plugin(tmp_path)
    key = min(finished.records())
    slip = key[:4] + ("0" if key[4] != "0" else "1") + key[5:10]
    words = {"MISKEY": slip, "KEY12": key[:12], "KEY": key, "RESULTS": str(finished.results), "HERE": str(tmp_path)}

    def filled(text: str) -> str:
        for name, value in words.items():
            text = text.replace(name, value)
        return text

    with small_world():  # what a model must not see is looked for in its whole corpus
        answer = command(*map(filled, typed))
    assert "did you mean" in answer.error.lower() and filled(meant) in answer.error, answer.error


def test_what_is_like_nothing_lists_or_counts() -> None:
    assert "known: off, offline, online" in command("run", "--wandb", "qqqq").error
    assert "0 records" not in command("verify", "zzzz").error and "did you mean" not in command("verify", "zzzz").error
    assert str(UnknownNameError("thing", "zzz", [f"name{i}" for i in range(30)])).endswith("30 are known")


def test_nearest_ignores_capitals_and_hyphens() -> None:
    assert nearest("Random-Noise", ["random_noise", "original"]) == ["random_noise"]
    assert nearest("zzzz", ["random_noise", "original"]) == []
    assert near_keys("ABCE000", ["abcd" + "0" * 60, "ffff" + "1" * 60]) == ": did you mean abcd00000000?"
    assert near_keys("", []) == near_keys("1e5", ["01e5" + "0" * 60]) == near_keys("1234567", ["abcd" * 16]) == ""


def test_a_file_is_looked_for_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "my_method.py").touch()
    assert "'my_method.py'" in near_file(tmp_path / "my_metod.py")
    assert near_file(tmp_path / "no" / "such" / "thing.xyz") == ""


# -- help ----------------------------------------------------------------------------------------------------


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == {"", *COMMANDS}


@pytest.mark.parametrize("line", [line for group in EXAMPLES.values() for line, _ in group])
def test_every_example_is_understood(line: str) -> None:
    arguments = shlex.split(line)
    assert arguments[0] in COMMANDS
    build_parser(arguments[0]).parse_args(arguments)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_them_as_they_are_pasted(name: str) -> None:
    answer: Answer = command(*([name] if name else []), "--help")
    assert answer.status == 0
    shown = answer.out.splitlines()
    for line, what in EXAMPLES[name]:
        assert f"  python -m benchmark {line}" in shown and f"  # {what}" in shown
