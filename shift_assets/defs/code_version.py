"""The version of an asset's code: a digest of everything its rows are computed with, found in the source.

The search starts at the function that computes the asset and follows every name it uses from definition to definition
(functions, classes and constants of modules), through imports at the top of a module and inside functions. What is
never reached does not count, so modules that everything imports (contracts, settings, the installation) do not make
every asset depend on everything. The rules:

- A definition counts by its syntax tree. Comments, docstrings, formatting, annotations of functions and variables, and
  arguments that describe (DESCRIBING) change nothing; nor does moving a definition to another module.
- A class used as a value counts with its bases, fields and special methods, plus every other method whose name is
  accessed on anything. If a base class is foreign, its framework may call any method, so the class counts whole.
- An object that is passed in counts by what is accessed on it; the annotation names its class. The installation
  therefore counts only with the members that the computation uses.
- A pydantic model that is only passed in holds what a file says (settings, a source): its methods count as they are
  used, its fields do not. The values of the settings that an asset declares are part of its version instead.
- SQL files count when their path appears, as `clean/bots.sql` or with a placeholder as `marts/{name}.sql`; comments
  and formatting do not matter.
- Foreign code counts by name only.

Limit: a method that is called only through `getattr` with a computed name is not seen.

What does not belong here: which function and which settings make up which asset.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

DESCRIBING = frozenset({"description", "meaning", "grain", "consumer"})
"""Parameters of declarations that hold documentation."""
LENGTH = 12
"""Hexadecimal digits of a version."""

_MODELS = frozenset({"pydantic.BaseModel", "pydantic_settings.BaseSettings"})
_INERT = frozenset({"object", "abc.ABC", "typing.Generic", "typing.Protocol"})
"""Foreign bases that call no method of a class."""
_NOT_CODE = frozenset({"ctx", "kind", "type_comment", "lineno", "col_offset", "end_lineno", "end_col_offset"})
_SQL_TOKEN = re.compile(r"('(?:[^']|'')*'|\"[^\"]*\")|(?:--[^\n]*|/\*.*?\*/|\s)+", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Definition(NamedTuple):
    """A name at the top of a module, or a member of a class there; an empty name: the side effects of the import."""

    module: str
    name: str
    member: str = ""


class Foreign(NamedTuple):
    """A dotted name from outside the package."""

    name: str


class Module(NamedTuple):
    """A module of the package."""

    name: str


Meaning = Definition | Foreign | Module


@dataclass
class _Facts:
    """What one definition contains and refers to."""

    digest: bytes = b""
    values: set[Definition] = field(default_factory=set)
    held: set[Definition] = field(default_factory=set)
    """Classes that annotate its fields: their objects are passed in."""
    asked: set[str] = field(default_factory=set)
    """Names of attributes accessed on anything."""
    methods: dict[str, Definition] = field(default_factory=dict)
    """Of a class: methods that count once their name is accessed."""
    texts: set[str] = field(default_factory=set)
    """Path patterns of SQL files."""
    libraries: set[str] = field(default_factory=set)
    """Foreign packages that it uses."""


@dataclass
class _Source:
    """One parsed module."""

    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    members: dict[tuple[str, str], list[ast.stmt]] = field(default_factory=dict)
    """Statements that bind a name in a class."""
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    """Statements that do more than bind names."""


def code_version(compute: Callable[..., object], *values: str) -> str:
    """Return the version of what the function `compute` computes, given the `values` that it also depends on."""
    package = package_named(compute.__module__.partition(".")[0])
    return package.version(compute.__module__, compute.__qualname__, *values)


def libraries(compute: Callable[..., object]) -> set[str]:
    """Return the foreign packages that what the function `compute` computes uses."""
    return package_named(compute.__module__.partition(".")[0]).libraries(compute.__module__, compute.__qualname__)


@cache
def package_named(name: str) -> Package:
    """Return the source of an imported package."""
    return Package(Path(next(iter(sys.modules[name].__path__))))


@contextmanager
def sources_kept() -> Iterator[None]:
    """Share parsed modules between the versions computed inside, and free them afterwards.

    The garbage collector pauses: traversing the growing trees again and again takes longer than reading them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        package_named.cache_clear()
        if collecting:
            gc.enable()


class Package:
    """The source of the package in `folder`: read, not imported, and each module parsed once, when it is reached."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources: dict[str, _Source | None] = {}
        self._meanings: dict[tuple[str, str], Meaning | None] = {}
        self._facts: dict[tuple[Definition, bool], _Facts] = {}
        self._closures: dict[Definition, list[_Facts]] = {}

    def version(self, module: str, function: str, *values: str) -> str:
        """Return the version of what `function` of `module`, a qualified name, computes with `values`.

        Raises LookupError if there is no such function.
        """
        reached = self._reached(module, function)
        patterns = {pattern for facts in reached for pattern in facts.texts}
        digest = hashlib.sha256(b"".join(sorted(facts.digest for facts in reached)))
        for path in sorted({path for pattern in patterns for path in (self._folder / "sql").glob(pattern)}):
            digest.update(_SQL_TOKEN.sub(lambda token: token[1] or " ", path.read_text(encoding="utf-8")).encode())
        digest.update("\0".join(values).encode())
        return digest.hexdigest()[:LENGTH]

    def libraries(self, module: str, function: str) -> set[str]:
        """Return the foreign packages, such as `numpy`, that what `function` of `module` computes uses.

        Raises LookupError if there is no such function.
        """
        return {library for facts in self._reached(module, function) for library in facts.libraries}

    def _reached(self, module: str, function: str) -> list[_Facts]:
        """Return the facts of every definition that a function reaches, itself included."""
        name, _, member = function.partition(".<locals>")[0].partition(".")
        start = Definition(module, name, member)
        if not self.statements(start):
            raise LookupError(f"{module} defines no {function}")
        if start in self._closures:
            return self._closures[start]
        reached = self._closures[start] = []
        asked: set[str] = set()
        unasked: dict[str, set[Definition]] = {}
        waiting = [(start, False)]
        seen = set(waiting)
        while waiting:
            definition, passed_in = waiting.pop()
            facts = self._facts_of(definition, passed_in)
            reached.append(facts)
            found = {Definition(definition.module, "")} | facts.values
            for name, method in facts.methods.items():
                if name in asked:
                    found.add(method)
                else:
                    unasked.setdefault(name, set()).add(method)
            for name in facts.asked - asked:
                found |= unasked.pop(name, set())
            asked |= facts.asked
            new = ({(each, False) for each in found} | {(each, True) for each in facts.held}) - seen
            waiting.extend(new)
            seen |= new
        return reached

    def _facts_of(self, definition: Definition, passed_in: bool) -> _Facts:
        if (definition, passed_in) not in self._facts:
            self._facts[definition, passed_in] = _Reader(self, definition, passed_in).read()
        return self._facts[definition, passed_in]

    # What a name refers to.

    def meaning(self, module: str, name: str) -> Meaning | None:
        """What `name` refers to at the top of `module`; None if the module does not bind it."""
        key = (module, name)
        if key not in self._meanings:
            source = self.source(module) or _Source()
            found: Meaning | None = Definition(module, name) if name in source.bound else None
            self._meanings[key] = found or (self.imported(*source.imported[name]) if name in source.imported else None)
        return self._meanings[key]

    def imported(self, module: str, name: str) -> Meaning:
        """What `from module import name` binds, or `import module` if `name` is empty."""
        dotted = f"{module}.{name}" if name else module
        if module.partition(".")[0] != self._folder.name:
            return Foreign(dotted)
        if name and (found := self.meaning(module, name)):
            return found
        return Module(dotted) if self.source(dotted) else Foreign(dotted)

    def source(self, module: str) -> _Source | None:
        """The parsed module; None if it is not in the package."""
        if module not in self._sources:
            path = self._folder.joinpath(*module.split(".")[1:])
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            ours = module.partition(".")[0] == self._folder.name and path.is_file()
            self._sources[module] = parsed(path.read_bytes()) if ours else None
        return self._sources[module]

    # What a definition is.

    def statements(self, definition: Definition) -> list[ast.stmt]:
        """The statements that make up a definition; empty if there is none."""
        source = self.source(definition.module)
        if source is None:
            return []
        if definition.member:
            return source.members.get((definition.name, definition.member), [])
        return source.bound.get(definition.name, []) if definition.name else source.effects

    def class_at(self, definition: Definition) -> ast.ClassDef | None:
        """The class statement of a definition; None for anything else."""
        found = [] if definition.member or not definition.name else self.statements(definition)
        return found[-1] if found and isinstance(found[-1], ast.ClassDef) else None

    def bases(self, definition: Definition) -> Iterator[Definition | Foreign]:
        """The direct bases of a class."""
        found = self.class_at(definition)
        for base in found.bases if found else []:
            plain = base.value if isinstance(base, ast.Subscript) else base
            meaning = self.meaning(definition.module, plain.id) if isinstance(plain, ast.Name) else None
            yield meaning if isinstance(meaning, Definition | Foreign) else Foreign(ast.unparse(plain))

    def frameworks(self, definition: Definition) -> set[str]:
        """Direct and indirect foreign bases of a class that may call its methods."""
        found: set[str] = set()
        for base in self.bases(definition):
            found |= {base.name} if isinstance(base, Foreign) else self.frameworks(base)
        return found - _INERT

    def member(self, definition: Definition, name: str) -> Definition | None:
        """The member `name` of a class, or of the first base that has it."""
        own = Definition(definition.module, definition.name, name)
        if self.statements(own):
            return own
        inherited = (self.member(base, name) for base in self.bases(definition) if isinstance(base, Definition))
        return next((each for each in inherited if each), None)

    def classes_of_member(self, definition: Definition, name: str) -> set[Definition]:
        """Classes that annotate what a member of a class holds or returns."""
        member = self.member(definition, name)
        return self.classes_of(member) if member else set()

    def classes_of(self, definition: Definition) -> set[Definition]:
        """Classes that annotate what a field holds or a function returns."""
        found: set[Definition] = set()
        for statement in self.statements(definition):
            if isinstance(statement, _FUNCTIONS):
                found |= self.annotated(definition.module, statement.returns)
            elif isinstance(statement, ast.AnnAssign):
                found |= self.annotated(definition.module, statement.annotation)
        return found

    def annotated(self, module: str, annotation: ast.expr | None) -> set[Definition]:
        """Classes of the package that an annotation names."""
        found: set[Definition] = set()
        for node in ast.walk(annotation) if annotation else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                with suppress(SyntaxError):  # the axes of a jaxtyping shape are no expression
                    found |= self.annotated(module, ast.parse(node.value.strip(), mode="eval").body)
            elif isinstance(node, ast.Name):
                meaning = self.meaning(module, node.id)
                if isinstance(meaning, Definition) and self.class_at(meaning):
                    found.add(meaning)
        return found

    def parameters(self, definition: Definition) -> list[str]:
        """Names of the positional parameters of a function or a dataclass."""
        for statement in self.statements(definition)[-1:]:
            if isinstance(statement, _FUNCTIONS):
                return [each.arg for each in (*statement.args.posonlyargs, *statement.args.args)]
            if isinstance(statement, ast.ClassDef):
                fields = (each.target for each in statement.body if isinstance(each, ast.AnnAssign))
                return [target.id for target in fields if isinstance(target, ast.Name)]
        return []


class _Reader:
    """Serialise the syntax tree of one definition and collect what it refers to."""

    def __init__(self, package: Package, definition: Definition, passed_in: bool) -> None:
        self._package, self._definition, self._passed_in = package, definition, passed_in
        self._facts = _Facts()
        self._written: list[str] = []
        self._local: dict[str, Meaning] = {}
        """Names bound by imports inside the definition."""
        self._classes: dict[str, set[Definition]] = {}
        """Classes of parameters and variables, by annotation."""
        self._on_demand: set[ast.stmt] = set()
        """Methods that count once their name is accessed."""
        self._fields: dict[ast.stmt, bool] = {}
        """Fields of classes, and whether a base class may read their annotations."""

    def read(self) -> _Facts:
        package, definition, facts = self._package, self._definition, self._facts
        found = package.class_at(definition)
        if found is not None:
            frameworks = package.frameworks(definition)
            model = self._passed_in and frameworks & _MODELS
            if model or not frameworks:
                methods = [e for e in found.body if isinstance(e, _FUNCTIONS) and not e.name.startswith("__")]
                facts.methods = {e.name: definition._replace(member=e.name) for e in methods}
                self._on_demand.update(methods)
            if model:
                fields = (each.annotation for each in found.body if isinstance(each, ast.AnnAssign))
                facts.held = {base for base in package.bases(definition) if isinstance(base, Definition)}.union(
                    *(package.annotated(definition.module, annotation) for annotation in fields)
                )
                return facts
        if found is not None or definition.member:
            self._classes["self"] = self._classes["cls"] = {definition._replace(member="")}
        of_model = definition.member and package.frameworks(definition._replace(member="")) & _MODELS
        for statement in package.statements(definition):
            if definition.member and isinstance(statement, ast.AnnAssign):
                facts.held |= self._annotated(statement.annotation)
                if of_model:
                    continue
            self._visit(statement)
        if self._written:
            facts.digest = hashlib.sha256("\0".join(self._written).encode()).digest()
        return facts

    def _visit(self, node: ast.AST) -> None:
        handler = _HANDLERS.get(type(node))
        if handler is None:
            self._write(node)
        else:
            handler(self, node)

    def _write(self, node: ast.AST, *left_out: str) -> None:
        """Serialise a node and its children; empty fields are skipped, so that Python versions agree."""
        write = self._written.append
        write(type(node).__name__)
        for name, value in vars(node).items():
            if not value or name in _NOT_CODE or name in left_out:
                continue
            write(name)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    self._visit(each)
                else:
                    write(repr(each))
        write(")")

    def _expression_statement(self, node: ast.Expr) -> None:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            self._write(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        self._local |= {name: self._package.imported(*origin) for name, origin in _imports(node).items()}

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node not in self._on_demand:
            self._write(node, "returns")

    def _class(self, node: ast.ClassDef) -> None:
        for each in node.body:
            if isinstance(each, ast.AnnAssign):
                self._facts.held |= self._annotated(each.annotation)
                self._fields[each] = bool(node.bases)
        self._write(node)

    def _argument(self, node: ast.arg) -> None:
        self._classes.setdefault(node.arg, set()).update(self._annotated(node.annotation))
        self._write(node, "annotation")

    def _annotated_assignment(self, node: ast.AnnAssign) -> None:
        if node in self._fields:
            self._write(node, *(() if self._fields[node] else ("annotation",)))
            return
        if isinstance(node.target, ast.Name):
            self._classes.setdefault(node.target.id, set()).update(self._annotated(node.annotation))
        if node.value:
            self._write(ast.Assign([node.target], node.value))

    def _assignment(self, node: ast.Assign) -> None:
        self._write(node)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for variable, value in pairs:
                if isinstance(variable, ast.Name) and (found := self._classes_of(value)):
                    self._classes.setdefault(variable.id, set()).update(found)

    def _name(self, node: ast.Name) -> None:
        meaning = self._meaning(node) if isinstance(node.ctx, ast.Load) else None
        self._written.append(node.id)
        if meaning:
            self._reach(meaning)

    def _attribute(self, node: ast.Attribute) -> None:
        self._written.append(node.attr)
        meaning = self._meaning(node)
        if meaning:
            self._reach(meaning)
            return
        self._facts.asked.add(node.attr)
        members = (self._package.member(each, node.attr) for each in self._classes_of(node.value))
        self._facts.values.update(each for each in members if each)
        self._visit(node.value)

    def _call(self, node: ast.Call) -> None:
        callee = self._meaning(node.func)
        names = self._package.parameters(callee) if isinstance(callee, Definition) else []
        self._written.append("Call")
        self._visit(node.func)
        for position, argument in enumerate(node.args):
            if position >= len(names) or names[position] not in DESCRIBING:
                self._visit(argument)
        for keyword in node.keywords:
            if callee is None or keyword.arg not in DESCRIBING:
                self._visit(keyword)
        match node:
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                self._facts.asked.add(name)
        self._written.append(")")

    def _constant(self, node: ast.Constant) -> None:
        self._written.append(repr(node.value))
        if isinstance(node.value, str):
            self._text(node.value)

    def _formatted(self, node: ast.JoinedStr) -> None:
        spelled = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
        self._written.append(repr(spelled))
        self._text(spelled)
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                self._write(each)

    def _text(self, spelled: str) -> None:
        if spelled.endswith(".sql"):
            self._facts.texts.add(_PLACEHOLDER.sub("*", spelled))

    def _reach(self, meaning: Meaning) -> None:
        if isinstance(meaning, Definition):
            self._facts.values.add(meaning)
            self._written.append(meaning.name)
        elif isinstance(meaning, Foreign):
            self._facts.libraries.add(meaning.name.partition(".")[0])
            self._written.append(meaning.name)
        else:  # the module itself is passed on
            source = self._package.source(meaning.name)
            self._facts.values.update(Definition(meaning.name, name) for name in (source.bound if source else ()))

    def _meaning(self, node: ast.expr) -> Meaning | None:
        """What a name, or a dotted name that starts at a module, refers to; None for variables and expressions."""
        if isinstance(node, ast.Name):
            return self._local.get(node.id) or self._package.meaning(self._definition.module, node.id)
        if isinstance(node, ast.Attribute):
            whole = self._meaning(node.value)
            if isinstance(whole, Module):
                return self._package.imported(whole.name, node.attr)
            return Foreign(f"{whole.name}.{node.attr}") if isinstance(whole, Foreign) else None
        return None

    def _annotated(self, annotation: ast.expr | None) -> set[Definition]:
        return self._package.annotated(self._definition.module, annotation)

    def _classes_of(self, node: ast.expr) -> set[Definition]:
        """Classes of the value of an expression, as far as annotations say."""
        package = self._package
        match node:
            case ast.Name(name) if name in self._classes:
                return self._classes[name]
            case ast.Call(function):
                meaning = self._meaning(function)
                if not isinstance(meaning, Definition):
                    return self._classes_of(function)
                return {meaning} if package.class_at(meaning) else package.classes_of(meaning)
            case ast.Attribute(value, name):
                return set().union(*(package.classes_of_member(each, name) for each in self._classes_of(value)))
        return set()


_HANDLERS: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.Expr: _Reader._expression_statement,
    ast.Import: _Reader._import,
    ast.ImportFrom: _Reader._import,
    ast.FunctionDef: _Reader._function,
    ast.AsyncFunctionDef: _Reader._function,
    ast.ClassDef: _Reader._class,
    ast.arg: _Reader._argument,
    ast.AnnAssign: _Reader._annotated_assignment,
    ast.Assign: _Reader._assignment,
    ast.Name: _Reader._name,
    ast.Attribute: _Reader._attribute,
    ast.Call: _Reader._call,
    ast.Constant: _Reader._constant,
    ast.JoinedStr: _Reader._formatted,
}


def parsed(text: bytes) -> _Source:
    """Parse a module into what it binds and imports."""
    source = _Source()
    for statement in ast.parse(text).body:
        _bind(statement, source)
    return source


def _bind(statement: ast.stmt, source: _Source) -> None:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        source.imported |= _imports(statement)
        return
    if isinstance(statement, ast.If) and isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING":
        for inner in statement.body:
            _bind(inner, source)
        return
    if not isinstance(statement, _BINDING) or any(isinstance(t, _PARTS) for t in _targets(statement)):
        source.effects.append(statement)
    for name in _names_bound(statement):
        source.bound.setdefault(name, []).append(statement)
    if isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            for name in _names_bound(inner):
                source.members.setdefault((statement.name, name), []).append(inner)
    elif not isinstance(statement, _BINDING):
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                source.imported |= _imports(node)


_PARTS = (ast.Subscript, ast.Attribute)
_BINDING = (*_FUNCTIONS, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.AugAssign)


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign | ast.AugAssign) else []


def _names_bound(statement: ast.stmt) -> set[str]:
    """Names that a statement binds in its own scope."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    within: list[Any] = [*_targets(statement)] or [statement]
    nodes = (node for each in within for node in ast.walk(each))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _imports(node: ast.Import | ast.ImportFrom) -> dict[str, tuple[str, str]]:
    """What an import binds: each name to a module and a name in it, or to a module alone."""
    if isinstance(node, ast.ImportFrom):
        if node.level or node.names[0].name == "*":
            raise NotImplementedError(f"{ast.unparse(node)}: only imports by full module and name are followed")
        return {each.asname or each.name: (node.module or "", each.name) for each in node.names}
    return {
        each.asname or each.name.partition(".")[0]: (each.name if each.asname else each.name.partition(".")[0], "")
        for each in node.names
    }
