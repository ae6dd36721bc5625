"""Digests of code by its meaning: a definition, and all that it uses of this project and of the files beside a plugin.

A closure begins at definitions (`"benchmark.unlearning.unlearn:unlearn"`), whole modules (`"methods.lip"`) or files,
and goes on to every definition that these name, through any number of modules. Its digest is over the meanings of its
definitions and over what each name in them stands for; where they lie is no part of it, so a file or a function that is
moved changes nothing. What an import runs at once (statements that are no definitions) counts; what an annotation names
does not.

A module that is found at run time by its name (data sets, measures) is in no closure by itself: whoever asks for a
digest names it as a start.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.common.code_modules import CodeError, CodeModule, read_source, taken_apart
from datamodules.common.garbage import nothing_collected
from datamodules.common.meaning import PACKAGES, Import, Meaning, meaning_of
from datamodules.common.plugin_files import neighbour

KEEPING = (
    *(f"datamodules.common.{name}" for name in ("cache", "kept_files", "locks", "content", "errors", "meaning")),
    *(
        f"datamodules.common.{name}"
        for name in ("code_closure", "code_modules", "plugin_files", "garbage", "dataset:NOT_READING")
    ),
    "benchmark",  # the package's own module: the names of the Python API, through which nothing is reached from within
)
"""What keeps, tells versions apart and reports, and changes no number: left out of every closure that reaches it."""
ROOT = Path(__file__).resolve().parents[2]
DIGITS = 16
"""Of a digest as it is kept: 64 bits tell the versions of one definition apart."""
_EVERYTHING, _AT_ONCE = "*", ""  # of a module: all its definitions, or what its import runs

Start = str | Path
Signature = tuple[int, int, int]


Place = tuple[Path, str]
"""A definition: its file and its name; `_EVERYTHING` and `_AT_ONCE` for those of a whole module."""


@dataclass(frozen=True)
class _Target:
    """What an import statement binds a name to.

    Attributes:
        path: The file of the module; None if it is none of this project or beside a plugin.
        name: A name in that module; empty for the module itself.
        text: As the statement says it, for a module that is not read.
    """

    path: Path | None
    name: str
    text: str = ""


@dataclass(frozen=True)
class _Use:
    """What a definition uses: by which name, and the definition, module or foreign name that it stands for."""

    local: str
    place: Place | None
    text: str = ""


@dataclass
class _Definition:
    """A definition's digest and what it uses; `files` are the modules that its imports run."""

    digest: str
    empty: bool
    uses: list[_Use] = field(default_factory=list)
    arrivals: set[Path] = field(default_factory=set)


class Code:
    """The code of this project, read once; a file that changes is read again.

    Args:
        root: The folder of its packages.
        changed: Sources to be taken in the place of files' contents; for tests.

    Attributes:
        known: Digests by what they are of (`datamodules.common.kept_digests`).
    """

    def __init__(self, root: Path = ROOT, changed: Mapping[Path, str] | None = None) -> None:
        self.root = root
        self._changed = dict(changed or {})
        self._signatures: dict[Path, Signature] = {}
        self._modules: dict[Path, CodeModule] = {}
        self._files: dict[str, Path | None] = {}
        self._bound: dict[Path, dict[str, list[_Target]]] = {}
        self._meanings: dict[Place, tuple[Meaning, str]] = {}
        self._definitions: dict[Place, _Definition] = {}
        self._digests: dict[tuple[object, ...], str] = {}
        self.known: dict[str, str] = {}

    def with_changed(self, changed: Mapping[Path, str]) -> Code:
        """The same code with other sources of some files; what is known of the other files is taken over."""
        code = Code(self.root, {**self._changed, **changed})
        for path in self._modules.keys() - changed.keys():
            code._modules[path] = self._modules[path]
            if path in self._signatures:
                code._signatures[path] = self._signatures[path]
        code._meanings = {place: meaning for place, meaning in self._meanings.items() if place[0] not in changed}
        if all(path in self._modules and code.module(path).binds == self.module(path).binds for path in changed):
            code._bound = dict(self._bound)
            code._definitions = {
                place: definition for place, definition in self._definitions.items() if place[0] not in changed
            }
        return code

    # -- what is asked ------------------------------------------------------------------------------------------------

    def digest(self, *starts: Start, stops: Collection[str] = ()) -> str:
        """The digest of what some definitions, modules or files mean, with all that they use.

        Args:
            starts: `"package.module:name"`, `"package.module"`, or a file, which counts whole.
            stops: Likewise, definitions and modules that do not count and are not followed.

        Raises:
            CodeError: If a start does not exist, or a file is not Python.
        """
        self._forget_what_changed()
        key = (starts, frozenset(stops))
        if key not in self._digests:
            named = self._named(starts, stops)
            self._digests[key] = self.known.get(named) or self._digest(starts, stops)
            if named:
                self.known[named] = self._digests[key]
        return self._digests[key]

    def _digest(self, starts: Sequence[Start], stops: Collection[str]) -> str:
        with nothing_collected():
            lines = self._lines(starts, stops)
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:DIGITS]

    def _named(self, starts: Sequence[Start], stops: Collection[str]) -> str:
        """What a digest is asked for, as text; empty where a file outside the project is in it."""
        paths = [start.resolve() for start in starts if isinstance(start, Path)]
        if not all(path.is_relative_to(self.root) for path in paths):
            return ""
        return repr((sorted(map(str, paths)), [start for start in starts if isinstance(start, str)], sorted(stops)))

    @property
    def as_on_disk(self) -> bool:
        """Whether every source is that of its file."""
        return not self._changed

    def signatures(self, paths: Iterable[Path]) -> dict[Path, Signature]:
        """What tells of each file whether it has changed."""
        return {path: _signature(path) for path in paths}

    def know(self, signatures: Mapping[Path, Signature], known: Mapping[str, str]) -> None:
        """Take over digests that were made of files of these signatures, until one of them changes."""
        self._forget_what_changed()
        self._signatures |= signatures
        self.known = dict(known)

    def _lines(self, starts: Sequence[Start], stops: Collection[str]) -> set[str]:
        lines: set[str] = set()
        refused = {self._place(stop) for stop in stops}
        for place in self._closure(starts, refused):
            definition = self._definition(place)
            if not definition.empty:
                lines.add(definition.digest)
            lines.update(
                f"{definition.digest} {use.local} is {self._identity(use, refused)}" for use in definition.uses
            )
        return lines

    def places(self, *starts: Start, stops: Collection[str] = ()) -> dict[Path, set[str]]:
        """The definitions of a closure by file; statements that an import runs have the name ""."""
        self._forget_what_changed()
        definitions: dict[Path, set[str]] = {}
        for path, name in self._closure(starts, {self._place(stop) for stop in stops}):
            if not self._definition((path, name)).empty:
                definitions.setdefault(path, set()).add(name)
        return definitions

    def _closure(self, starts: Sequence[Start], stops: Collection[Place]) -> set[Place]:
        queue = [(start.resolve(), _EVERYTHING) if isinstance(start, Path) else self._place(start) for start in starts]
        seen: set[Place] = set()
        while queue:
            place = queue.pop()
            if place in seen or _stopped(place, stops):
                continue
            seen.add(place)
            path, name = place
            queue.append((path, _AT_ONCE))
            if name == _EVERYTHING:
                queue += [(path, defined) for defined in self.module(path).definitions]
            definition = self._definition(place)
            queue += [use.place for use in definition.uses if use.place is not None]
            queue += [(arrival, _AT_ONCE) for arrival in definition.arrivals]
        return seen

    def _identity(self, use: _Use, stops: Collection[Place]) -> str:
        if use.place is None:
            return use.text
        if _stopped(use.place, stops):
            return "left out"
        return "a module" if use.place[1] == _EVERYTHING else self._meaning(use.place)[1]

    def _place(self, named: str) -> Place:
        dotted, _, name = named.partition(":")
        path = self.find(dotted)
        if path is None or (name and name not in self.module(path).definitions):
            raise CodeError(f"there is no {named!r} in this project's code")
        return path, name or _EVERYTHING

    # -- what is read -------------------------------------------------------------------------------------------------

    def module(self, path: Path) -> CodeModule:
        """A file, taken apart.

        Raises:
            CodeError: If it is not Python.
        """
        if path not in self._modules:
            if path not in self._changed:
                self._signatures[path] = _signature(path)
            source = self._changed[path] if path in self._changed else read_source(path)
            try:
                self._modules[path] = taken_apart(path, ast.parse(source, filename=str(path)))
            except (SyntaxError, ValueError, RecursionError) as error:
                raise CodeError(f"{path} is not Python: {' '.join(str(error).split())}") from error
        return self._modules[path]

    def _forget_what_changed(self) -> None:
        if any(_signature(path) != seen for path, seen in self._signatures.items()):
            for cached in (self._signatures, self._modules, self._files, self._bound):
                cached.clear()
            for derived in (self._meanings, self._definitions, self._digests, self.known):
                derived.clear()

    def _meaning(self, place: Place) -> tuple[Meaning, str]:
        if place not in self._meanings:
            module, name = self.module(place[0]), place[1]
            meaning = meaning_of(module.at_once if name == _AT_ONCE else module.definitions[name])
            self._meanings[place] = (meaning, hashlib.sha256(meaning.text.encode()).hexdigest()[:DIGITS])
        return self._meanings[place]

    def _definition(self, place: Place) -> _Definition:
        if place not in self._definitions:
            self._definitions[place] = _Definition("", True) if place[1] == _EVERYTHING else self._read_uses(place)
        return self._definitions[place]

    def _read_uses(self, place: Place) -> _Definition:
        path, name = place
        meaning, digest = self._meaning(place)
        definition = _Definition(digest, not meaning.text)
        local = self._bindings(meaning.imports, path)
        shared = self._shared_bindings(path)
        for used in sorted(meaning.names):
            if used in local:
                targets = local[used]
            elif used in self.module(path).definitions:
                targets = [] if used == name else [_Target(path, used)]
            else:
                targets = shared.get(used, [])
            for target in targets:
                self._use(target, used, definition)
        for dotted in sorted(meaning.modules):
            if not dotted.endswith(".") and (module := self.find(dotted)) is not None:
                self._use(_Target(module, ""), "", definition)
        for target in [target for targets in local.values() for target in targets]:
            self._arrive(target, definition)
        if name == _AT_ONCE:  # an import runs what the modules run that it imports
            for target in [target for targets in shared.values() for target in targets]:
                self._arrive(target, definition)
                if target.text.endswith(".*"):
                    self._use(target, "*", definition)
        return definition

    def _use(self, target: _Target, local: str, definition: _Definition) -> None:
        self._arrive(target, definition)
        if target.path is None:
            definition.uses.append(_Use(local, None, target.text))
        elif not target.name:
            definition.uses.append(_Use(local, (target.path, _EVERYTHING)))
        elif target.name in self.module(target.path).definitions:
            definition.uses.append(_Use(local, (target.path, target.name)))
        else:  # handed on from another module
            lazy = self._bindings(self.module(target.path).lazy, target.path)
            for further in (*self._shared_bindings(target.path).get(target.name, []), *lazy.get(target.name, [])):
                self._use(further, local, definition)

    def _arrive(self, target: _Target, definition: _Definition) -> None:
        """A module is imported, and the packages that it is in."""
        if target.path is None or target.path in definition.arrivals:
            return
        definition.arrivals.add(target.path)
        folder = target.path.parent
        while folder != self.root and (package := folder / "__init__.py").is_file():
            definition.arrivals.add(package)
            folder = folder.parent

    def _shared_bindings(self, path: Path) -> dict[str, list[_Target]]:
        """What the import statements of a module bind."""
        if path not in self._bound:
            self._bound[path] = self._bindings(self.module(path).imports, path)
        return self._bound[path]

    def _bindings(self, imports: Sequence[Import], importer: Path) -> dict[str, list[_Target]]:
        bindings: dict[str, list[_Target]] = {}
        for statement in imports:
            for local, target in self._targets(statement, importer):
                bindings.setdefault(local, []).append(target)
        return bindings

    # -- where a module lies ------------------------------------------------------------------------------------------

    def find(self, dotted: str, importer: Path | None = None) -> Path | None:
        """The file of an absolute import; None for a package that is not this project's or beside the importer."""
        top, *rest = dotted.split(".")
        if top in PACKAGES:
            if dotted not in self._files:
                self._files[dotted] = self._below(self.root / top, rest)
            return self._files[dotted]
        if importer is None or any(importer.is_relative_to(self.root / package) for package in PACKAGES):
            return None
        base = neighbour(importer, top)
        return None if base is None else self._below(base, rest)

    def _below(self, base: Path, rest: Sequence[str]) -> Path | None:
        if rest and base.suffix == ".py":
            return None
        base = base.joinpath(*rest)
        candidates = [base] if base.suffix == ".py" else [base.with_name(f"{base.name}.py"), base / "__init__.py"]
        return next((path for path in candidates if path in self._changed or path.is_file()), None)

    def _targets(self, statement: Import, importer: Path) -> Iterator[tuple[str, _Target]]:
        """What an import statement binds: local names, "*" for all names of a module."""
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                yield bound, _Target(self.find(alias.name, importer), "", alias.name)
            return
        parts = statement.module.split(".") if statement.module else []
        base = importer.parents[statement.level - 1] if 0 < statement.level <= len(importer.parents) else None
        module = self._below(base, parts) if base is not None else self.find(".".join(parts), importer)
        for alias in statement.names:
            text = f"{'.' * statement.level}{statement.module or ''}.{alias.name}"
            name = "" if alias.name == "*" else alias.name
            if name and (module is None or not self._binds(module, name)):
                further = [*parts, name]
                submodule = self._below(base, further) if base is not None else self.find(".".join(further), importer)
                module_or_package = submodule or module  # of a package whose names are not seen here all counts
                yield alias.asname or name, _Target(module_or_package, "", text)
            else:
                yield alias.asname or alias.name, _Target(module, name, text)

    def _binds(self, path: Path, name: str) -> bool:
        module = self.module(path)
        return name in module.definitions or any(
            name == (alias.asname or alias.name)
            for statement in (*module.imports, *module.lazy)
            for alias in statement.names
        )


def _stopped(place: Place, stops: Collection[Place]) -> bool:
    return place in stops or (place[0], _EVERYTHING) in stops


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_size, status.st_mtime_ns, status.st_ino


def project_code() -> Code:
    """The code of this process."""
    return _CODE[-1]


_CODE = [Code()]
