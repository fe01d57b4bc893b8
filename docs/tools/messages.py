"""What the code can answer and print when something is wrong, read from its source.

Nothing is run: a message is what stands in the source, with `…` for what is filled in.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import TypeAlias

import attrs

# Of each kind of reader, where what it reads comes from.
ANSWERS = ("http1", "gateway", "supervisor", "engine", "instances.py")
ADMIN = ("admin",)
COMMAND = ("cli",)
START = ("config", "supervisor", "gateway", "passed_sockets.py")
_STATUSES = frozenset(range(400, 600))
# What the supervisor tells the gateway, with a code and a message, and the status it becomes.
_TOLD_AS = {"Unavailable": 503, "Full": 507}
_CODE = re.compile(r"[a-z]+([_-][a-z0-9]+)*")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
Scope: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Module"


@attrs.define
class Known:
    """What is known of one code: `statuses` it comes with, `texts` of its messages."""

    statuses: set[int] = attrs.field(factory=set)
    texts: set[str] = attrs.field(factory=set)


@attrs.frozen
class Call:
    """A call, or a tuple, by what is in it; `scopes` are the functions and the module around it."""

    name: str
    arguments: tuple[ast.expr, ...]
    scopes: tuple[Scope, ...]

    def texts(self, node: ast.expr) -> list[str]:
        return _texts(node, self.scopes)

    def messages(self, start: int = 0) -> set[str]:
        """Return what the arguments from `start` on may say."""
        given = self.arguments[start:]
        return {text for node in given for text in self.texts(node) if _is_message(text)}

    def passed_on(self, node: ast.expr) -> tuple[str, int] | None:
        """Return the function around, and which of its parameters `node` is; None for others."""
        inside = self.scopes[0]
        if isinstance(node, ast.Name) and isinstance(inside, _FUNCTION):
            named = [one.arg for one in inside.args.args if one.arg not in {"self", "cls"}]
            if node.id in named:
                return inside.name, named.index(node.id)
        return None


def by_code(package: Path, parts: tuple[str, ...]) -> dict[str, Known]:
    """Return every code that `parts` of the package can answer with, and its messages."""
    trees, calls = _read(package, parts)
    found: dict[str, Known] = defaultdict(Known)
    # Functions that make an error from one of their arguments: its index, and the codes.
    makers: dict[str, tuple[int, list[str]]] = {}
    for call in calls:
        for status, code, message in _coded(call):
            codes = [text for text in call.texts(code) if _CODE.fullmatch(text)]
            for one in codes:
                found[one].statuses.add(status)
            if message is None:
                continue
            texts = [text for text in call.texts(message) if _is_message(text)]
            # Two that were chosen by one condition belong together, one by one.
            chosen = len(codes) == len(texts) > 1
            for one, text in zip(codes, texts, strict=True) if chosen else product(codes, texts):
                found[one].texts.add(text)
            maker = call.passed_on(message)
            if maker is not None and codes:
                makers[maker[0]] = maker[1], codes
    for kind in _classes(trees):
        if kind.code is not None:
            found[kind.code].statuses |= kind.statuses
            found[kind.code].texts |= kind.texts
            makers[kind.name] = 0, [kind.code]
    for call in calls:
        start, codes = makers.get(call.name, (0, []))
        for one in codes:
            found[one].texts |= call.messages(start)
    return dict(found)


def _coded(call: Call) -> Iterator[tuple[int, ast.expr, ast.expr | None]]:
    """Yield each status in a call or tuple, with the code and the message that follow it."""
    given = call.arguments
    for at, node in enumerate(given):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, int) and value in _STATUSES and len(given) > at + 1:
            yield value, given[at + 1], given[at + 2] if len(given) > at + 2 else None
    if call.name in _TOLD_AS and len(given) > 1:
        yield _TOLD_AS[call.name], given[0], given[1]


def at_start(package: Path) -> dict[str, set[str]]:
    """Return the types of the errors that end a start, each with its messages."""
    trees, calls = _read(package, START)
    kinds = list(_classes(trees))
    roots = {"ConfigError", "UsageError", *_explained(package / "tap.py")}
    wide = {base for kind in kinds for base in kind.bases}
    # A root without subclasses is told itself.
    found = {kind.name: set(kind.texts) for kind in kinds if kind.bases & roots}
    found |= {kind.name: set(kind.texts) for kind in kinds if kind.name in roots - wide}
    foreign = {name: set[str]() for name in roots if not any(name == kind.name for kind in kinds)}
    makers: dict[str, tuple[int, str]] = {}
    for call in calls:
        if call.name in found:
            for node in call.arguments:
                maker = call.passed_on(node)
                if maker is not None:
                    makers.setdefault(maker[0], (maker[1], call.name))
    for call in calls:
        start, name = makers.get(call.name, (0, call.name))
        # What a class makes of its arguments is its message, not they.
        if name in found and not any(kind.texts for kind in kinds if kind.name == name):
            found[name] |= call.messages(start)
    return found | foreign


def _explained(file: Path) -> set[str]:
    """Return the names of the types that `explain` has a line for."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "explain":
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
            asked = [one.args[1] for one in calls if ast.unparse(one.func) == "isinstance"]
            return {
                name.id for one in asked for name in ast.walk(one) if isinstance(name, ast.Name)
            }
    raise AssertionError("there is no explain()")


@cache
def _read(package: Path, parts: tuple[str, ...]) -> tuple[list[ast.Module], list[Call]]:
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in _files(package, parts)]
    return trees, [call for tree in trees for call in _calls(tree)]


def _files(package: Path, parts: Iterable[str]) -> Iterator[Path]:
    for part in parts:
        place = package / part
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _calls(tree: ast.Module) -> Iterator[Call]:
    def walk(node: ast.AST, scopes: tuple[Scope, ...]) -> Iterator[Call]:
        if isinstance(node, _FUNCTION):
            scopes = (node, *scopes)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            yield Call(name, (*node.args, *(keyword.value for keyword in node.keywords)), scopes)
        elif isinstance(node, ast.Tuple):
            yield Call("", tuple(node.elts), scopes)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, scopes)

    return walk(tree, (tree,))


@attrs.define
class _Class:
    name: str
    bases: set[str]
    code: str | None
    statuses: set[int]
    texts: set[str]


def _classes(trees: Iterable[ast.Module]) -> Iterator[_Class]:
    """Yield the error classes, each with its own `code` and `status`, or its base's."""
    known: dict[str, _Class] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                bases = [known[name] for name in map(ast.unparse, node.bases) if name in known]
                own = dict(_constants(node))
                code, status = own.get("code"), own.get("status")
                one = _Class(
                    node.name,
                    {ast.unparse(base) for base in node.bases},
                    str(code) if code else bases[0].code if bases else None,
                    {status}
                    if isinstance(status, int)
                    else set(bases[0].statuses if bases else ()),
                    set(_own_texts(node)) or set(bases[0].texts if bases else ()),
                )
                known[node.name] = one
                yield one


def _constants(node: ast.ClassDef) -> Iterator[tuple[str, object]]:
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        value = getattr(line, "value", None)
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = value.elts if isinstance(value, ast.Tuple) else [value]
        for name, one in zip(names, values, strict=False):
            if isinstance(name, ast.Name) and isinstance(one, ast.Constant):
                yield name.id, one.value


def _own_texts(node: ast.ClassDef) -> Iterator[str]:
    """Yield what a class itself gives to its base as the message."""
    for inside in node.body:
        if isinstance(inside, _FUNCTION) and inside.name == "__init__":
            for call in ast.walk(inside):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                    for argument in call.args:
                        yield from filter(_is_message, _texts(argument, (inside,)))


def _texts(node: ast.AST | None, scopes: tuple[Scope, ...], depth: int = 0) -> list[str]:
    """Return the texts that an expression may be, `…` for what the source does not say."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = (one.value if isinstance(one, ast.Constant) else "…" for one in node.values)
        return [re.sub("…+", "…", "".join(map(str, parts)))]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, scopes, depth + 1), *_texts(node.orelse, scopes, depth + 1)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = (_texts(side, scopes, depth + 1) or ["…"] for side in (node.left, node.right))
        return ["".join(pair) for pair in product(*both)]
    # Names that are given by one another, and their own.
    if isinstance(node, ast.Name) and depth < 5:
        for scope in scopes:
            lines = scope.body if isinstance(scope, ast.Module) else list(ast.walk(scope))
            given = [
                line.value
                for line in lines
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == node.id
            ]
            if given:
                return [text for value in given for text in _texts(value, scopes, depth + 1)]
    return []


def _is_message(text: str) -> bool:
    return " " in text.strip() and len(_WORDS.findall(text)) > 1
