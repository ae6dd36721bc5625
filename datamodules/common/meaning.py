"""The meaning of Python code as text: two pieces of code with one text do the same.

What changes no number is left out: comments, docstrings, formatting, annotations, the words of error messages, the
prose of cards (titles, papers, sources), import statements, and the names of this project's modules. What an imported
name stands for is told beside the text: see `datamodules.common.code_closure`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

PACKAGES = ("benchmark", "methods", "datamodules")
"""The packages of this project: the names of their modules are no part of a meaning, so that a file can be moved."""
_MODULE_NAME = re.compile(rf"((?:{'|'.join(PACKAGES)})\.[\w.]*)(:\w+)?")
"""A module of this project as text, or a definition in one (`module:name`), of which the name counts."""
_CARDS = frozenset({"MethodCard", "DatasetCard", "Family", "Measure", "hyper"})
_PROSE = frozenset({"title", "paper", "source", "small_source"})
_FETCHING = frozenset({"download", "_fetch_images"})
"""Methods of data sets that bring files to the disk: the files count by their bytes, not by the way they came."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SKIPPED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores", "returns", "annotation"})
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Import = ast.Import | ast.ImportFrom


@dataclass
class Meaning:
    """What some statements mean.

    Attributes:
        text: Equal for equal meanings; the same in every version of Python.
        names: The global names that they use.
        imports: The import statements inside them.
        modules: Names of this project's modules that stand in them as strings.
    """

    text: str = ""
    names: set[str] = field(default_factory=set)
    imports: list[Import] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)


def meaning_of(statements: Iterable[ast.stmt]) -> Meaning:
    """The meaning of statements of a module, one after another."""
    writer = _Writer()
    for statement in statements:
        writer.statement(statement)
    writer.meaning.text = "".join(writer.parts)
    return writer.meaning


def is_type_checking(node: ast.AST) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`, whose block never runs."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


class _Writer:
    """Writes nodes as text and collects the global names on the way."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.meaning = Meaning()
        self._scopes: list[frozenset[str]] = []
        self._in_class = False
        self._in_raise = False

    # -- statements ---------------------------------------------------------------------------------------------------

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return  # a docstring
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.meaning.imports.append(node)
        elif isinstance(node, ast.AnnAssign):
            self._annotated(node)
        elif isinstance(node, _FUNCTIONS):
            if not (self._in_class and node.name in _FETCHING):
                self._function(node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif is_type_checking(node) and isinstance(node, ast.If):
            for child in node.orelse:
                self.statement(child)
        elif isinstance(node, ast.Raise):
            outer, self._in_raise = self._in_raise, True
            self._node(node)
            self._in_raise = outer
        else:
            self._node(node)

    def _body(self, statements: Iterable[ast.stmt]) -> None:
        self.parts.append("{")
        for statement in statements:
            self.statement(statement)
        self.parts.append("}")

    def _annotated(self, node: ast.AnnAssign) -> None:
        """An annotation makes a field of a class body; elsewhere it does nothing."""
        if self._in_class:
            kind = next((name for name in ("ClassVar", "InitVar") if name in ast.dump(node.annotation)), "field")
            self.parts.append(f"{kind}(")
            self._value(node.target)
            self._value(node.value)
            self.parts.append(")")
        elif node.value is not None:
            self._node(ast.Assign(targets=[node.target], value=node.value))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.parts.append(f"{type(node).__name__} {node.name}(")
        for decorator in node.decorator_list:
            self._value(decorator)
        self._defaults(node.args)
        in_class, self._in_class = self._in_class, False
        self._scopes.append(_bound(node))
        self._signature(node.args)
        self._body(node.body)
        self._scopes.pop()
        self._in_class = in_class
        self.parts.append(")")

    def _class(self, node: ast.ClassDef) -> None:
        self.parts.append(f"class {node.name}(")
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self._value(part)
        in_class, self._in_class = self._in_class, True
        self._body(node.body)
        self._in_class = in_class
        self.parts.append(")")

    # -- expressions --------------------------------------------------------------------------------------------------

    def _value(self, value: object) -> None:
        if isinstance(value, ast.stmt):
            self.statement(value)
        elif isinstance(value, ast.AST):
            self._expression(value)
        elif isinstance(value, list):
            self.parts.append("[")
            for item in value:
                self._value(item)
            self.parts.append("]")
        else:
            self.parts.append(f"{value!r},")

    def _expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self.parts.append(f"{node.id},")
            if not any(node.id in scope for scope in self._scopes):
                self.meaning.names.add(node.id)
        elif isinstance(node, ast.Constant):
            self._constant(node.value)
        elif isinstance(node, ast.Lambda):
            self._lambda(node)
        elif isinstance(node, _COMPREHENSIONS):
            targets = [name for generator in node.generators for name in _stored(generator.target)]
            self._value(node.generators[0].iter)  # of the scope outside
            self._scopes.append(frozenset(targets))
            self._node(node)
            self._scopes.pop()
        elif isinstance(node, ast.Call) and _called(node) in _CARDS:
            self._node(
                ast.Call(node.func, node.args, [keyword for keyword in node.keywords if keyword.arg not in _PROSE])
            )
        else:
            self._node(node)

    def _constant(self, value: object) -> None:
        if isinstance(value, str):
            if self._in_raise:
                value = ""
            elif named := _MODULE_NAME.fullmatch(value):
                if named[2] is None:
                    self.meaning.modules.add(value)
                value = f"<module>{named[2] or ''}"
        self.parts.append(f"{type(value).__name__}:{value!r},")

    def _lambda(self, node: ast.Lambda) -> None:
        self.parts.append("lambda(")
        self._defaults(node.args)
        self._scopes.append(_bound(node))
        self._signature(node.args)
        self._value(node.body)
        self._scopes.pop()
        self.parts.append(")")

    def _defaults(self, arguments: ast.arguments) -> None:
        self._value([*arguments.defaults])
        self._value([*arguments.kw_defaults])

    def _signature(self, arguments: ast.arguments) -> None:
        lists = (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
        rest = [argument and argument.arg for argument in (arguments.vararg, arguments.kwarg)]
        self.parts.append(repr([[[argument.arg for argument in part] for part in lists], rest]))

    def _node(self, node: ast.AST) -> None:
        self.parts.append(f"{type(node).__name__}(")
        for name, value in ast.iter_fields(node):
            if name in _SKIPPED_FIELDS or value is None or value == []:
                continue
            self.parts.append(f"{name}=")
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                self._body(value)
            else:
                self._value(value)
        self.parts.append(")")


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _bound(function: Function) -> frozenset[str]:
    """The names that are local to a function: its arguments, and what its own body binds."""
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = {parameter.arg for parameter in parameters if parameter is not None}
    outside: set[str] = set()
    queue: list[ast.AST] = [*function.body] if isinstance(function.body, list) else [function.body]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            outside |= set(node.names)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
            continue
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.NamedExpr):
            names.add(node.target.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
        elif isinstance(node, ast.comprehension):
            queue += [node.iter, *node.ifs]
            continue
        if not isinstance(node, ast.Lambda):
            queue += ast.iter_child_nodes(node)
    return frozenset(names - outside)


def _stored(target: ast.AST) -> Iterable[str]:
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
