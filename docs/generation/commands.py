"""The command line's page, made from the parser: every command with its options and examples."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmark.cli.examples import EXAMPLES
from benchmark.cli.parser import COMMANDS, build_parser
from benchmark.utils.table import Table

HIDDEN = ("--help", "--print_config", "--config", "--print-config")


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command.

    Raises:
        LookupError: If there is no such command.
    """
    for action in build_parser(name)._actions:
        if isinstance(action.choices, dict) and name in action.choices:
            parser: argparse.ArgumentParser = action.choices[name]
            return parser
    raise LookupError(f"the parser has no command {name!r}")


def command_list() -> str:
    """One line for each command."""
    rows = [[f"[`{name}`](#{name})", text] for name, text in COMMANDS.items()]
    return Table.of_texts(["command", "what it does"], rows, words=(0, 1)).markdown()


def command_pages() -> str:
    """A section for each command: what it does, its arguments and options, and examples that work as they stand."""
    return "\n\n".join(_section(name) for name in COMMANDS)


def _section(name: str) -> str:
    parser = command_parser(name)
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    positional = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings and action.option_strings[-1] not in HIDDEN]
    words = " ".join(f"{{{a.dest}}}" if a.nargs is None else f"[{a.dest}]" for a in positional)
    usage = f"python -m benchmark {name} {words.replace('{', '').replace('}', '').upper()}".rstrip()
    examples = "\n".join(f"# {what}\npython -m benchmark {line}" for line, what in EXAMPLES.get(name, ()))
    blocks = [
        f"## {name}",
        parser.description or COMMANDS[name],
        f"```text\n{usage}{' [options]' if options else ''}\n```",
        *([_table(positional, "argument")] if positional else []),
        *([_table(options, "option")] if options else []),
        *([f"Examples:\n\n```bash\n{examples}\n```"] if examples else []),
    ]
    return "\n\n".join(blocks)


def _table(actions: list[argparse.Action], what: str) -> str:
    rows = [[_name(action), _default(action), " ".join((action.help or "").split())] for action in actions]
    titles = [what, "default", "meaning"]
    if not any(default for _, default, _ in rows):
        titles, rows = [what, "meaning"], [[name, meaning] for name, _, meaning in rows]
    table = Table.of_texts(titles, rows, words=(0, 1, 2)).markdown()
    return f'<div class="options" markdown>\n\n{table}\n\n</div>'


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.dest.upper()}`"
    option = action.option_strings[-1]
    return f"`{option}`" if action.nargs == 0 else f"`{option} {' '.join(_values(action))}`"


def _values(action: argparse.Action) -> Iterator[str]:
    metavar = action.metavar
    yield from metavar if isinstance(metavar, tuple) else (str(metavar),)


def _default(action: argparse.Action) -> str:
    unset = action.default is None or action.default == argparse.SUPPRESS or action.nargs == 0
    return "" if unset else f"`{action.default}`"
