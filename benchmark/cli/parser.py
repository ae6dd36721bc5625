"""The parser: typed functions of `benchmark.cli` as subcommands, through jsonargparse."""

from __future__ import annotations

import importlib
import inspect
import re
from argparse import SUPPRESS, Action
from argparse import ArgumentParser as ArgumentParserBase
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from benchmark.cli.examples import HEAD, examples
from benchmark.cli.listing import Listed
from benchmark.utils.project import DISTRIBUTION, VERSION, git_commit, program
from datamodules.common.documents import MOST_NUMBER
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
POSITIONAL = (
    ("list", "what"),
    ("tables", "paper"),
    ("verify", "key"),
    ("export", "key"),
    ("export", "folder"),
    ("measure", "family"),
    ("pack", "suite"),
    ("generate", "key"),
    ("tune", "method"),
    ("check", "file"),
    ("pretrain", "recipe"),
    ("download", "dataset"),
)
GROUPS: dict[str, tuple[str, ...]] = {
    "what to run": (
        *("all", "suite", "methods", "seeds", "model", "set", "tuned", "tuned_values", "plugin", "keys", "shard"),
        *("classes", "concept", "method", "measures", "unlearned", "name", "dataset", "data", "others", "keep"),
    ),
    "where": ("results", "data_dir", "cache_dir", "out", "figures"),
    "how it runs": (
        *("device", "precision", "force", "executor", "address", "cpus_per_cell", "gpus_per_cell", "devices"),
        *("strategy", "jobs", "seed"),
    ),
    "what is kept": ("wandb", "save_weights"),
}
"""Titles under which `--help` shows options; those of one command alone stand under its own title."""
METAVARS = {
    **dict.fromkeys(("methods", "measures", "classes", "others", "keep"), "NAME,..."),
    **dict.fromkeys(("results", "data_dir", "cache_dir", "out", "figures"), "DIR"),
    **dict.fromkeys(("plugin", "tuned_values", "unlearned"), "FILE"),
    **dict.fromkeys(("cpus_per_cell", "gpus_per_cell", "devices", "trials", "images", "steps", "jobs", "seed"), "N"),
    **{"seeds": "N,...", "model": "NAME", "keys": "KEY,...", "set": "METHOD.NAME=VALUE", "shard": "I/N"},
    **{"suite": "NAME", "device": "NAME", "precision": "NAME", "address": "HOST:PORT", "strategy": "NAME"},
}
"""What stands for the value of an option in `--help`; by default its own name."""
PAIRS = {("leaderboard", "compare")}
"""Options that take two words, which jsonargparse does not read from a type."""


_LISTED = "_listed"
NUMBERS: dict[str, tuple[float, float]] = {
    "seed": (0, MOST_NUMBER),
    "search_seed": (0, MOST_NUMBER),
    "devices": (1, 1024),
    "cpus_per_cell": (1, 4096),
    "gpus_per_cell": (0, 64),
    "tolerance": (0, 1000),
    "trials": (1, 10_000),
    "images": (1, 1_000_000),
    "steps": (1, 100_000),
    "guidance": (0, 1000),
    "batch": (1, 100_000),
}
"""By option the smallest and the largest number that it takes; not a number is beyond both."""


class UsageError(BenchmarkError):
    """Arguments that do not fit the command."""


class ExitError(BenchmarkError):
    """Code that a command ran tried to end the whole process."""


class Parser(ArgumentParser):
    """jsonargparse with hyphens in option names, plain flags, and errors of one line."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Add an argument; booleans become flags."""
        if args and str(args[0]).startswith("--"):
            args = (str(args[0]).replace("_", "-"), *args[1:])
        if kwargs.get("type") is bool:
            del kwargs["type"]
            kwargs["action"] = "store_true"
        return super().add_argument(*args, **kwargs)

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
        told = default not in (None, False, "==SUPPRESS==", []) and "default" not in text
        return f"{text.rstrip('.')}; by default {default}." if told else text

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
    """The function of a command: `benchmark.commands.NAME_command.NAME`."""
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
            positional = [parameter for owner, parameter in POSITIONAL if owner == name]
            pairs = {parameter for owner, parameter in PAIRS if owner == name}
            declared = inspect.signature(function, eval_str=True).parameters
            lists = [parameter for parameter in declared if declared[parameter].annotation == Listed]
            skip: set[str | int] = {*positional, *pairs, *lists}
            command.add_function_arguments(function, as_positional=False, as_group=False, skip=skip)
            for parameter in sorted(pairs):
                words, text = ("A", "B"), _argument_help(function, parameter)
                command.add_argument(f"--{parameter}", type=str, nargs=2, metavar=words, help=text)
            for parameter in lists:
                text = _argument_help(function, parameter)
                # Not by its own name: jsonargparse's Namespace has methods, such as `keys`, that would be appended to.
                command.add_argument(f"--{parameter}", dest=parameter + _LISTED, type=str, action="append", help=text)
            for parameter in positional:
                own = declared[parameter]
                several = list in (get_origin(each) for each in get_args(own.annotation))
                one = {} if own.default is inspect.Parameter.empty else {"nargs": "?", "default": None}
                optional = {"nargs": "*"} if several else one
                text, kind = _argument_help(function, parameter), str if several else own.annotation
                command.add_argument(parameter, type=kind, help=text, **optional)
            _grouped(command, name)
            command.description = (inspect.getdoc(function) or "").partition("\nArgs:")[0].strip()
        commands.add_subcommand(name, command, help=help_text)
    return parser


def _grouped(command: Parser, name: str) -> None:
    """Put the options of a command under their titles, each with a short word for its value."""
    titles = {option: title for title, options in GROUPS.items() for option in options}
    groups = {title: command.add_argument_group(title) for title in [*GROUPS, f"of `{name}` alone"]}
    plain = next(group for group in command._action_groups if group.title == "options")
    for action in list(plain._group_actions):
        option = action.dest.removesuffix(_LISTED)
        if not action.option_strings or option in ("help", "h") or "-h" in action.option_strings:
            continue
        if action.nargs is None and action.choices is None and not str(action.metavar or "").startswith("{"):
            action.metavar = METAVARS.get(option, option.upper())
        plain._group_actions.remove(action)
        groups[titles.get(option, f"of `{name}` alone")]._group_actions.append(action)


def _check_value(option: str, value: Any, ends: tuple[float, float] | None) -> None:
    """Refuse what an unset shell variable leaves, signs that no name has, and numbers beyond their ends.

    Raises:
        UsageError: If it is one of these.
    """
    for text in [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []:
        if not text.strip(", \t\n"):
            raise UsageError(f"{option} is empty: give it a value or leave it out (is a shell variable unset?)")
        if "\0" in text:
            raise UsageError(f"{option} holds a null character, which no name or path can")
    if ends is not None and isinstance(value, (int, float)) and not ends[0] <= value <= ends[1]:
        low, high = (int(end) if end == int(end) else end for end in ends)
        raise UsageError(f"{option} takes a number from {low} to {high}, not {value}")


def _argument_help(function: Callable[..., int], parameter: str) -> str:
    for line in (inspect.getdoc(function) or "").splitlines():
        name, colon, text = line.strip().partition(": ")
        if colon and name == parameter:
            return text
    return ""


def run_command(arguments: list[str]) -> int:
    """Parse and run one command; returns the exit status."""
    wanted = next((argument for argument in arguments if argument in COMMANDS), None)
    parsed = build_parser(wanted).parse_args(arguments)
    name = parsed.command
    # jsonargparse marks names that its Namespace also has as methods (such as `keys`) with a zero-width space
    given = {key.replace("-", "_").strip("\u200b"): value for key, value in vars(parsed[name]).items()}
    values = {key.removesuffix(_LISTED): value for key, value in given.items()}
    positional = {parameter for owner, parameter in POSITIONAL if owner == name}
    for key, value in values.items():
        _check_value(key if key in positional else f"--{key.replace('_', '-')}", value, NUMBERS.get(key))
    function = command_function(name)
    try:
        return function(**values)
    except SystemExit as end:  # a method or a library: no command ends the process itself
        raise ExitError(f"something within `{name}` called exit({end.code!r}) before the command was done") from end
