"""What a method cannot open while it unlearns: an audit hook refuses it, with the data regime in the message.

Refused are files below the closed folders (real data, the cache, the results), the modules that draw or open the images
of data sets, the network, other programs, and signals to other processes. A hook cannot be taken out again and holds in
forked children. It sees what goes through Python: a program that calls into C, or that a hook's author did not think
of, can still read a file. It then still cannot change how it is measured, since that happens in another process.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from datamodules.common.card import read_declarations
from datamodules.common.errors import RegimeViolationError

COMPILERS = frozenset({"gcc", "g++", "cc", "c++", "clang", "clang++", "nvcc", "ptxas", "cl", "ld", "as", "ldconfig"})
"""Programs that torch.compile and Triton call; any other one could read what is closed."""
_SOURCES = (
    "common.registry",
    "common.captioned",
    "common.split_file",
    "common.download",
    "common.shadow_pool",
    "image_folder",
)
_WORLDS = ("shapes", "few_shapes")

_ONE_PATH = frozenset(
    {"open", "os.listdir", "os.scandir", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.utime"}
    | {"os.chdir", "glob.glob", "pathlib.Path.glob", "os.walk", "os.getxattr", "os.setxattr", "shutil.rmtree"}
)
_TWO_PATHS = frozenset({"os.rename", "os.link", "os.symlink", "shutil.copyfile", "shutil.move", "shutil.copytree"})
_PROGRAMS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"})
_SIGNALS = frozenset({"os.kill", "os.killpg"})


@cache
def closed_modules() -> frozenset[str]:
    """The modules of `datamodules` that open or draw images: those of data sets, and what they are made from."""
    package = importlib.util.find_spec("datamodules")
    places = list(package.submodule_search_locations or ()) if package is not None else []
    modules = {f"datamodules.{name}" for name in _SOURCES}
    for place in map(Path, places):
        for path in place.rglob("*.py"):
            parts = path.relative_to(place).with_suffix("").parts
            world = any(part.startswith(_WORLDS) for part in parts)
            if world or "CARD" in _declared(path):
                modules.add(".".join(("datamodules", *parts)).removesuffix(".__init__"))
    return frozenset(modules)


def _declared(path: Path) -> Mapping[str, Any]:
    try:
        from datamodules.common.card import DatasetCard

        return read_declarations(path, ("CARD",), {"DatasetCard": DatasetCard})
    except (SyntaxError, NameError, TypeError, ValueError):
        return {}


@dataclass(frozen=True)
class Closed:
    """What is closed.

    Attributes:
        regime: The data regime, for the message.
        folders: Nothing below them may be opened, listed or changed.
        open_folders: Exceptions: folders below a closed one that may be opened.
        modules: Modules that may not be imported, nor their files read.
        files: The files of those modules.
    """

    regime: str
    folders: tuple[str, ...]
    open_folders: tuple[str, ...]
    modules: frozenset[str]
    files: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, regime: str, folders: Sequence[str | Path], open_folders: Sequence[str | Path]) -> Closed:
        """What a method of a data regime may not open."""
        modules = closed_modules()
        real = tuple(os.path.realpath(folder) for folder in folders)
        files = {name.rpartition(".")[2] for name in modules}
        return cls(regime, real, tuple(os.path.realpath(folder) for folder in open_folders), modules, frozenset(files))

    def check_path(self, path: object) -> None:
        """Refuse a path below a closed folder, or the file of a closed module.

        Raises:
            RegimeViolationError: If it is closed.
        """
        if isinstance(path, int) or path is None:
            return
        try:
            real = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return
        if _is_below(real, self.folders) and not _is_below(real, self.open_folders):
            raise RegimeViolationError(
                f"a method of data regime {self.regime!r} tried to open {real}, which it is not given; "
                "declare the regime that it needs in its card"
            )
        parts = Path(real).parts
        file = parts[-1]
        if file.split(".")[0] in self.files and "datamodules" in parts[-4:-1]:
            raise self.refuse(f"read {file}, which draws or opens images")
        if parts[1:2] == ("proc",) and file in ("mem", "environ", "fd", "root", "cwd", "map_files"):
            raise self.refuse(f"open {real}")

    def refuse(self, what: str) -> RegimeViolationError:
        """The error of a deed that no data regime allows."""
        return RegimeViolationError(
            f"a method of data regime {self.regime!r} tried to {what}: it is given what its regime allows, through "
            "self.data, and nothing else"
        )


class Refusals:
    """What was refused so far: a method that catches the refusal has tried all the same."""

    def __init__(self) -> None:
        self._first: RegimeViolationError | None = None

    def note(self, error: RegimeViolationError) -> None:
        """Something was refused."""
        self._first = self._first or error

    def check(self) -> None:
        """Raise the first refusal, if there was any.

        Raises:
            RegimeViolationError: If there was.
        """
        if self._first is not None:
            raise self._first


def close(closed: Closed) -> Refusals:
    """Close it for the rest of this process's life, and of what it forks."""
    refusals, check = Refusals(), _check(closed)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        try:
            check(event, arguments)
        except RegimeViolationError as error:
            refusals.note(error)
            raise

    sys.addaudithook(hook)
    return refusals


def _check(closed: Closed) -> Callable[[str, tuple[Any, ...]], None]:
    me = os.getpid()

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _ONE_PATH:
            closed.check_path(arguments[0] if arguments else None)
        elif event in _TWO_PATHS:
            for path in arguments[:2]:
                closed.check_path(path)
        elif event == "import":
            if arguments[0] in closed.modules:
                raise closed.refuse(f"import {arguments[0]}, which draws or opens images")
        elif event in _PROGRAMS:
            program = Path(str(arguments[0] if event != "os.system" else "sh")).name
            if program not in COMPILERS:
                raise closed.refuse(f"start the program {program}")
        elif event == "socket.connect":
            address = arguments[1] if len(arguments) > 1 else None
            if not isinstance(address, str | bytes):
                raise closed.refuse(f"connect to {address}")
        elif event in _SIGNALS and arguments[0] not in (me, os.getpid()):
            raise closed.refuse("send a signal to another process")

    return check


closed_modules()  # read once, by the server from which processes are forked


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
