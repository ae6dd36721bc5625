"""The methods by name: files of this folder, entry points of other packages, and files given with `--plugin`.

Cards are read without importing the files; a method's class is imported when it is run.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from datamodules.errors import UnknownNameError
from methods.cards import ContractError, Declaration, MethodCard, read_method

if TYPE_CHECKING:
    from methods.base import UnlearningMethod

ENTRY_POINTS = "clip_unlearning_benchmark.methods"
_HERE = Path(__file__).parent
_SYNTHETIC = _HERE.parent / "datamodules" / "synthetic.py"
_CORE = frozenset({"__init__", "cards", "registry"})


class Registry:
    """The methods that a run knows.

    Args:
        plugins: Files of methods from outside the project.

    Raises:
        ContractError: If a plugin declares no method, or a name is taken.
    """

    def __init__(self, plugins: Sequence[Path] = ()) -> None:
        self._methods: dict[str, Declaration] = {}
        for path in sorted(_HERE.glob("*.py")):
            if path.stem not in _CORE:
                self._add(path, required=False)
        for entry in entry_points(group=ENTRY_POINTS):
            spec = importlib.util.find_spec(entry.module)
            if spec is not None and spec.origin is not None:
                self._add(Path(spec.origin), required=True)
        for path in plugins:
            if not path.is_file():
                raise ContractError(f"plugin file {path} does not exist")
            self._add(path.resolve(), required=True)

    def _add(self, path: Path, *, required: bool) -> None:
        declaration = read_declaration(path) if required else read_method(path)
        if declaration is None:
            return
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
        """sha256 of the method's file and of the files of this folder that it imports, directly or through others."""
        digest = hashlib.sha256()
        for path in _with_imports(self.declaration(name).path):
            digest.update(path.read_bytes())
        return digest.hexdigest()


def read_declaration(path: Path) -> Declaration:
    """The declaration of a method's file, which is not imported.

    Raises:
        ContractError: If it declares no method.
    """
    declaration = read_method(path)
    if declaration is None:
        raise ContractError(f"{path} declares no method: it needs `CARD = MethodCard(...)` at top level")
    return declaration


def import_method(path: Path, card: MethodCard) -> type[UnlearningMethod[Any]]:
    """Import the file of a method. A file from outside the project finds the modules beside it.

    Args:
        path: The file.
        card: What it declares.

    Raises:
        ContractError: If it cannot be imported, or has no `UnlearningMethod` with `card = CARD`.
    """
    from methods.base import UnlearningMethod

    module = importlib.import_module(f"methods.{path.stem}") if path.parent == _HERE else _import_file(path)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, UnlearningMethod) and vars(value).get("card") == card:
            return value
    raise ContractError(f"{path.name} declares CARD but no UnlearningMethod subclass with `card = CARD`")


def _import_file(path: Path) -> ModuleType:
    name = f"clip_unlearning_plugin_{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ContractError(f"{path} cannot be imported: it must be a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:  # after everything else: a helper never takes the place of a package
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ContractError(f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _with_imports(path: Path) -> list[Path]:
    """A method's file and those that it imports, directly or through others, that can change its numbers."""
    found: list[Path] = []
    queue = [path]
    while queue:
        current = queue.pop(0)
        if current in found:
            continue
        found.append(current)
        tree = ast.parse(current.read_text(encoding="utf-8"))
        for module in (name for node in ast.walk(tree) for name in _imported(node)):
            room, _, file = module.partition(".")
            if room == "methods":
                candidate = _HERE / f"{file.split('.')[0]}.py"
                queue.extend([candidate] if candidate.is_file() else [])
            elif module == "datamodules.synthetic":
                queue.append(_SYNTHETIC)
    return [found[0], *sorted(found[1:])]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return []
