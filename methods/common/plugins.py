"""Importing a method from outside the project: its file, and the modules that lie beside it.

What a plugin imports is looked for in its own folder before the installed packages, for the plugin and its helpers
alone: `sys.path` stays as it is, and two plugins may have helpers of one name. `neighbour` is the rule, and the digest
of a plugin follows the same one, so what is imported is what counts in a key.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from datamodules.common.code_closure import ROOT, project_code
from datamodules.common.meaning import PACKAGES
from datamodules.common.plugin_files import neighbour, top_folder
from methods.common.card import ContractError

_PREFIX = "clip_unlearning_plugin_"


def import_plugin(path: Path, *, once: bool = False) -> ModuleType:
    """Import a file from outside the project with what it needs of the files beside it.

    A file that was imported before is imported again if it, or what it imports from its folder, has changed.

    Args:
        path: The file.
        once: This process imports the file once and ends: nothing is read to see whether it has changed.

    Raises:
        ContractError: If it cannot be imported.
    """
    path = path.resolve()
    package = _PREFIX + (hashlib.sha256(str(path).encode()).hexdigest()[:12] if once else _content(path))
    folders = path.parent.relative_to(top_folder(path)).parts
    name = ".".join([package, *folders, path.stem.replace(".", "_")])
    if name in sys.modules:
        return sys.modules[name]
    try:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        if package not in sys.modules:
            anchor = ModuleType(package)
            anchor.__path__ = [str(top_folder(path))]
            sys.modules[package] = anchor
        if folders:
            importlib.import_module(".".join([package, *folders]))
        return _run(name, path)
    except Exception as error:
        for module_name in [
            module_name
            for module_name in sys.modules
            if module_name == package or module_name.startswith(f"{package}.")
        ]:
            del sys.modules[module_name]
        raise ContractError(f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error


def _run(name: str, path: Path) -> ModuleType:
    spec = spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError("it must be a .py file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _content(path: Path) -> str:
    """A digest of where a file lies, and of its bytes and those of the files beside it that it imports."""
    digest = hashlib.sha256(str(path).encode())
    rooms = [ROOT / package for package in PACKAGES]
    for file in sorted({path, *project_code().places(path)}):
        if not any(file.is_relative_to(room) for room in rooms):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class _Loader(SourceFileLoader):
    """Compiles the source each time, and gives the module an import that looks into its own folder first.

    Python's kept bytecode is believed by size and whole seconds: an edit within one second would not be seen.
    """

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        plugin_import = partial(_import, package, Path(self.path))
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": plugin_import}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules beside plugins, under the name of the plugin's package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX) or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.origin is not None:
            return spec_from_file_location(
                fullname,
                spec.origin,
                loader=_Loader(fullname, spec.origin),
                submodule_search_locations=spec.submodule_search_locations,
            )
        return spec


def _import(
    package: str,
    importer: Path,
    name: str,
    globals: Any = None,
    locals: Any = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """`__import__` for the modules of a plugin."""
    usual: Callable[..., Any] = builtins.__import__
    first, _, rest = name.partition(".")
    beside = None if level else neighbour(importer, first)
    if beside is None:
        return usual(name, globals, locals, fromlist, level)
    parts = beside.with_suffix("").relative_to(top_folder(importer)).parts
    module_name = ".".join([package, *parts])
    full_name = f"{module_name}.{rest}" if rest else module_name
    if fromlist:
        return usual(full_name, globals, locals, fromlist, 0)
    importlib.import_module(full_name)
    return sys.modules[module_name]
