"""The methods by name: files of this folder, entry points of other packages, and files given with `--plugin`.

Cards are read without importing the files; a method's class is imported when it is run.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.common.code_closure import KEEPING, project_code
from datamodules.common.errors import UnknownNameError
from methods.common.card import ContractError, Declaration, MethodCard, check_one_class, read_method
from methods.common.plugins import import_plugin

if TYPE_CHECKING:
    from methods.common.base import UnlearningMethod

ENTRY_POINTS = "clip_unlearning_benchmark.methods"
_HERE = Path(__file__).parents[1]
NOT_COUNTED = (*KEEPING, "methods.common.card")
"""Of what methods use: how files are kept, messages, and how values are declared, which are in every key themselves."""


class Registry:
    """The methods that a run knows.

    Args:
        plugins: Files of methods from outside the project; a file of a data set is registered where data sets are.

    Raises:
        ContractError: If a plugin declares no method, or a name is taken.
    """

    def __init__(self, plugins: Sequence[Path] = ()) -> None:
        self._methods: dict[str, Declaration] = {}
        for path in sorted(_HERE.glob("*.py")):
            self._add(path, required=False)
        for entry in entry_points(group=ENTRY_POINTS):
            spec = importlib.util.find_spec(entry.module)
            if spec is not None and spec.origin is not None:
                self._add(Path(spec.origin), required=True)
        if plugins:
            from datamodules.common.registry import (
                add_dataset,
            )  # closed where a method unlearns, which needs no plugins
        for path in plugins:
            if not path.exists():
                raise ContractError(f"plugin file {path} does not exist")
            if path.suffix != ".py":
                raise ContractError(f"plugin {path} is no Python file: its name must end in .py")
            if not add_dataset(path.resolve(), import_plugin):
                self._add(path.resolve(), required=True)

    def _add(self, path: Path, *, required: bool) -> None:
        declaration = read_declaration(path) if required else _read_once(path, _content(path))
        if declaration is None:
            return
        if required:
            check_one_class(path)
        name = declaration.card.name
        if name in self._methods:
            raise ContractError(
                f"{path} declares method {name!r}, but that name is taken by {self._methods[name].path}"
            )
        self._methods[name] = declaration

    def names(self) -> tuple[str, ...]:
        """All names, reference rows first."""
        return tuple(sorted(self._methods, key=lambda n: (self._methods[n].card.paper != "reference row", n)))

    def declaration(self, name: str) -> Declaration:
        """The declaration of a method.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        if name not in self._methods:
            raise UnknownNameError("method", name, self._methods)
        return self._methods[name]

    def method_class(self, name: str) -> type[UnlearningMethod[Any]]:
        """Import a method.

        Raises:
            ContractError: If its file has no `UnlearningMethod` with `card = CARD`.
        """
        declaration = self.declaration(name)
        return import_method(declaration.path, declaration.card)

    def source_hash(self, name: str) -> str:
        """The digest of what a method's file means, with all that it uses of this project and of the files beside it.

        Comments, prose, annotations and the places of files do not count: see `datamodules.common.meaning`.
        """
        return project_code().digest(self.declaration(name).path, stops=NOT_COUNTED)


@lru_cache(maxsize=512)
def _read_once(path: Path, content: bytes) -> Declaration | None:
    """What `read_method` gives, read once for each content of a file: all of them take a third of a second.

    Args:
        path: A file of this folder.
        content: What it holds now.
    """
    return read_method(path)


def _content(path: Path) -> bytes:
    """What a file holds; nothing where it cannot be read, which `read_method` says in words."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def read_declaration(path: Path) -> Declaration:
    """The declaration of a method's file, which is not imported.

    Raises:
        ContractError: If it declares no method.
    """
    declaration = read_method(path)
    if declaration is None:
        raise ContractError(f"{path} declares no method: it needs `CARD = MethodCard(...)` at top level")
    return declaration


def import_method(path: Path, card: MethodCard, *, once: bool = False) -> type[UnlearningMethod[Any]]:
    """Import the file of a method. A file from outside the project finds the modules beside it.

    Args:
        path: The file.
        card: What it declares.
        once: This process imports the file once and ends; see `methods.common.plugins`.

    Raises:
        ContractError: If it cannot be imported, or has no `UnlearningMethod` with `card = CARD`.
    """
    from methods.common.base import UnlearningMethod

    built_in = path.parent == _HERE
    module = importlib.import_module(f"methods.{path.stem}") if built_in else import_plugin(path, once=once)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, UnlearningMethod) and vars(value).get("card") == card:
            return value
    raise ContractError(f"{path.name} declares CARD but no UnlearningMethod subclass with `card = CARD`")
