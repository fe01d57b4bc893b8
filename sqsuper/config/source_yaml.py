"""YAML text into located values: the safe part of YAML alone, built from parser events.

No tag, anchor, alias, merge key or second document gets past here, so nothing is ever
constructed and nothing can grow beyond the text's own size.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
import yaml
from yaml.resolver import Resolver

from sqsuper.config.errors import MalformedError
from sqsuper.config.located import (
    MAX_DEPTH,
    Kind,
    Mapping,
    Scalar,
    Sequence,
    Source,
    Value,
    format_key,
)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,24})")
_FRACTION = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]{1,4})?")
_TRUE = frozenset({"yes", "true", "on"})
_KINDS = {
    "tag:yaml.org,2002:null": Kind.NULL,
    "tag:yaml.org,2002:bool": Kind.BOOL,
    "tag:yaml.org,2002:int": Kind.INT,
    "tag:yaml.org,2002:float": Kind.FLOAT,
    "tag:yaml.org,2002:timestamp": Kind.TIME,
}
_MERGE = "tag:yaml.org,2002:merge"


def _line(event: yaml.Event) -> int:
    mark: Any = event.start_mark
    return int(mark.line) + 1


@attrs.define
class _Open:
    """A mapping or sequence whose end has not come yet."""

    value: Mapping | Sequence
    path: str
    key: str | None = None
    key_line: int = 0


@attrs.define
class _Builder:
    source: Source
    resolver: Any = attrs.field(factory=Resolver)
    stack: list[_Open] = attrs.field(factory=list)
    root: Value | None = None
    documents: int = 0

    def path(self) -> str:
        """Return the key path of the value that comes next."""
        if not self.stack:
            return ""
        top = self.stack[-1]
        if isinstance(top.value, Sequence):
            return f"{top.path}[{len(top.value.items)}]"
        return top.path if top.key is None else format_key(top.path, top.key)

    def malformed(self, event: yaml.Event, problem: str, remedy: str = "") -> MalformedError:
        return self.source.malformed(_line(event), problem, remedy, self.path())

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._check_node(event)
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._check_node(event)
            self._open(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self.stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise self.malformed(event, "aliases (*name) are not allowed", "write the value out")
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise self.malformed(
                    event, "a second document begins here", "keep one document in a file"
                )

    def _check_node(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            raise self.malformed(event, "anchors (&name) are not allowed", "write the value out")
        if getattr(event, "tag", None) is not None:
            raise self.malformed(
                event, "tags (!name) are not allowed", "write the value without one"
            )

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        line = _line(event)
        if len(self.stack) >= MAX_DEPTH:
            raise self.source.too_deep(line)
        if self._expects_key():
            raise self.malformed(event, "a key must be a single word, not a list or mapping")
        path = self.path()
        if self.stack and self.stack[-1].key is not None:
            # An indented block begins a line below its key; errors point to the key.
            line = self.stack[-1].key_line
        value: Mapping | Sequence = (
            Mapping({}, {}, line)
            if isinstance(event, yaml.MappingStartEvent)
            else Sequence([], line)
        )
        self._put(value)
        self.stack.append(_Open(value, path))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        tag = ""
        if event.implicit[0]:
            tag = self.resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        line = _line(event)
        kind = _KINDS.get(tag, Kind.TEXT)
        if self._expects_key():
            self._key(event, tag, kind, line)
            return
        text: str = event.value
        value: str | int | float | bool | None = text
        if kind is Kind.NULL:
            value = None
        elif kind is Kind.BOOL:
            value = text.lower() in _TRUE
        elif kind is Kind.INT:
            value = int(text.replace("_", "")) if _DECIMAL.fullmatch(text) else None
        elif kind is Kind.FLOAT:
            value = float(text.replace("_", "")) if _FRACTION.fullmatch(text) else None
        self._put(Scalar(kind, value, text, line))

    def _expects_key(self) -> bool:
        return bool(
            self.stack and isinstance(self.stack[-1].value, Mapping) and self.stack[-1].key is None
        )

    def _key(self, event: yaml.ScalarEvent, tag: str, kind: Kind, line: int) -> None:
        top = self.stack[-1]
        assert isinstance(top.value, Mapping)
        key = str(event.value)
        if tag == _MERGE:
            raise self.malformed(event, "merge keys (<<) are not allowed", "write the keys out")
        top.key, top.key_line = key, line
        if kind is not Kind.TEXT:
            shown = key if key else "an empty key"
            raise self.malformed(
                event, f"YAML reads the key {shown} as {kind.value}", f'quote it: "{key}"'
            )
        if key in top.value.entries:
            first = top.value.lines[key]
            raise self.malformed(event, f"the key is already on line {first}", "keep one of them")

    def _put(self, value: Value) -> None:
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        if isinstance(top.value, Sequence):
            top.value.items.append(value)
        elif top.key is not None:
            top.value.entries[top.key] = value
            top.value.lines[top.key] = top.key_line
            top.key = None


def read_yaml(source: Source) -> Value | None:
    """Return the text's one document, or None when it holds nothing but comments.

    Raises MalformedError.
    """
    builder = _Builder(source)
    try:
        for event in yaml.parse(source.text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        told = ", ".join(part for part in (error.context, error.problem) if part)
        raise source.malformed(line, f"not valid YAML: {told}") from None
    except yaml.reader.ReaderError as error:
        raise source.malformed(None, f"not valid YAML: {error.reason}") from None
    return builder.root
