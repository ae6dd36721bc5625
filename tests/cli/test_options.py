"""Options are declared once: what a typed function and its dataclasses say is what the parser takes and shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from world import command

from benchmark.cli.arguments import Argument, Option, arguments_of, called, title_of
from benchmark.cli.listing import file_or_folder, words
from benchmark.cli.options import Execution, Places, Records, RunSelection, Selection
from benchmark.cli.parser import COMMANDS, command_function, parsed
from datamodules.common.errors import BenchmarkError

Count = Annotated[int, Option("N", low=1, high=9)]


@dataclass(frozen=True)
class Base:
    """Where it grows.

    Attributes:
        place: A folder,
            of any kind.
    """

    place: Annotated[Path, Option("DIR", file_or_folder)] = Path("here")


@dataclass(frozen=True)
class Wider(Base):
    """How many.

    Attributes:
        count: Between one and nine.
    """

    count: Count | None = None


def plant(
    name: str, more: Annotated[tuple[str, ...], Option(read=words)] = (), /, *, wider: Wider, deep: bool
) -> object:
    """Plant something.

    Args:
        name: Of the plant.
        more: Of further plants.
        deep: Below the ground.
    """
    return name, more, wider, deep


def argument(name: str) -> Argument:
    return next(argument for argument in arguments_of(plant) if argument.name == name)


def test_a_signature_and_its_docstrings_say_everything() -> None:
    shown = [(each.flag, each.title, each.help, each.positional) for each in arguments_of(plant)]
    assert shown == [
        ("name", "", "Of the plant.", True),
        ("more", "", "Of further plants.", True),
        ("--place", "how many", "A folder, of any kind.", False),
        ("--count", "how many", "Between one and nine.", False),
        ("--deep", "", "Below the ground.", False),
    ]
    assert argument("name").declaration() == {"type": str, "help": "Of the plant."}
    assert argument("more").declaration()["nargs"] == "*" and argument("deep").declaration()["action"] == "store_true"
    assert argument("place").declaration()["metavar"] == "DIR" and argument("place").declaration()["default"] == "here"
    assert argument("count").kind == int | None and title_of(Base) == "where it grows"


def test_values_are_read_and_go_where_they_are_taken() -> None:
    given = {"name": "oak", "more": ["ash,elm", "yew"], "place": "~", "count": 3, "deep": True}
    values = {each.name: each.value(given[each.name]) for each in arguments_of(plant)}
    assert called(plant, values) == ("oak", ("ash", "elm", "yew"), Wider(Path.home(), 3), True)
    few = {"name": "oak", "place": "here", "deep": False}
    left_out = {each.name: each.value(few.get(each.name)) for each in arguments_of(plant)}
    assert called(plant, left_out) == ("oak", (), Wider(), False)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("count", 10, "--count takes a number from 1 to 9, not 10"),
        ("count", float("nan"), "--count takes a number from 1 to 9, not nan"),
        ("name", " ", "name is empty"),
        ("more", ["ash", ","], "more is empty"),
        ("place", "a\0b", "--place holds a null character"),
        ("place", "~nobody-of-this-name/x", "a user who is not on this machine"),
    ],
)
def test_wrong_values_are_refused_by_their_flag(name: str, given: object, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        argument(name).value(given)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_argument_of_every_command_is_explained_once(name: str) -> None:
    arguments = list(arguments_of(command_function(name)))
    names = [argument.name for argument in arguments]
    assert len(set(names)) == len(names)
    assert [argument.name for argument in arguments if not argument.help.endswith(".")] == []


def test_what_run_is_given_arrives_in_its_dataclasses() -> None:
    line = "run --methods lip,ccup --methods diet --seeds 0,1 --set lip.x=[1,2],ccup.y=2 --keys 3f --gpus-per-cell 0.5"
    _, values = parsed(line.split())
    selection = called(RunSelection, values)
    assert selection.methods == ("lip", "ccup", "diet") and selection.seeds == (0, 1) and selection.keys == ("3f",)
    assert selection.set == ("lip.x=[1,2]", "ccup.y=2") and selection.suite == Selection().suite
    assert called(Execution, values) == Execution(gpus_per_cell=0.5) and called(Places, values) == Places()


def test_help_shows_the_options_under_the_titles_of_their_dataclasses() -> None:
    shown = command("run", "--help").out
    for title, option in ((title_of(RunSelection), "--suite NAME"), (title_of(Records), "--results DIR")):
        assert option in shown.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
    assert "(type:" not in shown and "default: null" not in shown
