"""The parser: the typed functions of `benchmark.cli` as subcommands of jsonargparse."""

from __future__ import annotations

import importlib
import inspect
import re
from argparse import SUPPRESS, Action
from argparse import ArgumentParser as ArgumentParserBase
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from benchmark.cli.arguments import Argument, UsageError, arguments_of, called
from benchmark.cli.examples import HEAD, examples
from benchmark.utils.project import DISTRIBUTION, VERSION, git_commit, program
from datamodules.common.errors import BenchmarkError, UnknownNameError

COMMANDS: dict[str, str] = {
    "run": "run what is missing of a suite, then show the leaderboard",
    "unlearn": "unlearn classes from one model and write it as a folder that open_clip loads",
    "audit": "measure a model that was unlearned elsewhere, for the leaderboard",
    "plan": "show a suite's cells: done, missing, failed, and what they will take",
    "leaderboard": "show the leaderboard of the records",
    "tune": "search a method's hyperparameters, with the same budget as every other's",
    "report": "write one page with leaderboards, plots and cards, and static figures",
    "tables": "show a paper's tables, published and measured numbers side by side",
    "list": "list methods, datasets, models, suites or measures",
    "verify": "run a recorded cell again and compare",
    "export": "write a recorded cell's unlearned model as a folder that open_clip loads",
    "measure": "add a family of measures to records that are there",
    "pack": "write the records of a suite into one small file, to commit or to send",
    "generate": "generate images with a recorded cell's text encoder and count the concept in them",
    "check": "run the contract tests on a method file",
    "pretrain": "train a small CLIP from a recipe",
    "download": "fetch a data set",
    "speed": "measure the suite's speed on this machine",
}
_LISTED = "_listed"


class ExitError(BenchmarkError):
    """Code that a command ran tried to end the whole process."""


class Parser(ArgumentParser):
    """jsonargparse with errors of one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage; a wrong name is answered with the nearest ones."""
        line = _in_words(" ".join(str(message).split()), [name for name in self._option_string_actions if name != "-h"])
        joint = " See" if line.endswith("?") else "; see"
        raise UsageError(f"{line}{joint} `{self.prog.replace(' [options]', '')} --help`") from ex


class _Version(Action):
    """Prints the version; the commit is asked of git only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None, **_: Any) -> None:
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: ArgumentParserBase, *_: Any) -> None:
        commit = git_commit()
        print(f"{DISTRIBUTION} {VERSION}{f', commit {commit}' if commit else ''}")
        parser.exit()


class _Formatter(DefaultHelpFormatter):
    """Wraps everything but the examples, whose lines are commands to paste; a default is told where there is one."""

    def _expand_help(self, action: Any) -> str:
        default = action.default
        text = str(action.help or "").replace("%", "%%") % ()
        shows_default = (
            default is not None and default is not False and default != SUPPRESS and "by default" not in text
        )
        return f"{text.rstrip('.')}; by default {default}." if shows_default else text

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(HEAD):
            return text
        return super()._fill_text(text, width, indent)


def _in_words(message: str, options: list[str]) -> str:
    """A parser's message as the other errors are: what is unknown, and what is near.

    Args:
        message: On one line.
        options: The options that the command has.
    """
    command = re.search(r"invalid choice: '(.*?)' \(choose from", message)
    if command:
        return str(UnknownNameError("command", command[1], COMMANDS))
    dotted = re.match(r"unrecognized arguments: --(\w+\.\w+)(?:[= ]([^\s-]\S*))?", message, re.IGNORECASE)
    if dotted:
        return f"a hyperparameter is given as --set {dotted[1]}={dotted[2] or 'VALUE'}"
    unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message, re.IGNORECASE)
    if unknown:
        return str(UnknownNameError("option", unknown[1], options))
    number = re.search(r'key "(\w+)".*?<class \'(int|float)\'>.*(?:Got value|Given value): (.*)$', message)
    if number:
        kind = {"int": "a whole number", "float": "a finite number"}[number[2]]
        return f"--{number[1].replace('_', '-')} takes {kind}, not {number[3][:40]!r}"
    choice = re.search(r'key "(\w+)".*?Literal\[(.*?)\]\. Got value: (.*)', message)
    if choice:
        option = f"--{choice[1].replace('_', '-')}"
        kind = f"value of {option}" if option in options else choice[1]
        return str(UnknownNameError(kind, choice[3], re.findall(r"'(.*?)'", choice[2])))
    return message


def command_function(name: str) -> Callable[..., int]:
    """The function of a command: `NAME_command` of `benchmark.cli.NAME`."""
    module = importlib.import_module(f"benchmark.cli.{name}")
    function: Callable[..., int] = getattr(module, f"{name}_command")
    return function


def build_parser(wanted: str | None) -> Parser:
    """The whole parser; only the wanted command's module is imported."""
    parser = Parser(
        prog=program(),
        description="A benchmark of methods that remove a class or a concept from a trained CLIP.",
        epilog=examples(""),
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action=_Version, help="Show the project's version and commit, and exit.")
    commands = parser.add_subcommands(dest="command", required=True)
    for name, help_text in COMMANDS.items():
        command = Parser(description=help_text, epilog=examples(name), formatter_class=_Formatter)
        if name == wanted:
            function = command_function(name)
            command.description = (inspect.getdoc(function) or "").partition("\nArgs:")[0].strip()
            _add_arguments(command, arguments_of(function), f"of `{name}` alone")
        commands.add_subcommand(name, command, help=help_text)
    return parser


def _add_arguments(command: Parser, arguments: Iterable[Argument], rest: str) -> None:
    """Add the arguments of a command, each under its title; `rest` is the title of those that have none."""
    groups: dict[str, Any] = {}
    for argument in arguments:
        if argument.positional:
            command.add_argument(argument.name, **argument.declaration())
            continue
        title = argument.title or rest
        if title not in groups:
            groups[title] = command.add_argument_group(title)
        # A list not by its own name: jsonargparse's Namespace has methods, such as `keys`, that would be appended to.
        listed = {"dest": argument.name + _LISTED} if argument.several else {}
        groups[title].add_argument(argument.flag, **argument.declaration(), **listed)


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The name of the command and the value of each of its arguments.

    Raises:
        BenchmarkError: If the arguments do not fit the command.
    """
    wanted = next((argument for argument in arguments if argument in COMMANDS), None)
    namespace = build_parser(wanted).parse_args(arguments)
    name = namespace.command
    # jsonargparse marks names that its Namespace also has as methods (such as `keys`) with a zero-width space
    named = {key.replace("-", "_").strip("\u200b"): value for key, value in vars(namespace[name]).items()}
    values = {key.removesuffix(_LISTED): value for key, value in named.items()}
    return name, {
        argument.name: argument.value(values[argument.name]) for argument in arguments_of(command_function(name))
    }


def run_command(arguments: list[str]) -> int:
    """Parse and run one command; returns the exit status."""
    name, values = parsed(arguments)
    try:
        status: int = called(command_function(name), values)
        return status
    except SystemExit as end:  # a method or a library: no command ends the process itself
        raise ExitError(f"something within `{name}` called exit({end.code!r}) before the command was done") from end
