"""docs/api.md from the admin API's OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

DESCRIPTION = "sqsuper/admin/openapi.yaml"
_METHODS = ("get", "post", "put", "patch", "delete")
_INTRODUCTION = """\
# The admin API

This page is made from the OpenAPI 3.1 description that the service itself serves at
`/api/v2/admin/openapi.json`: give that one to programs. The [command line](command-line.md) does
all of this, too.

```
curl -H "Authorization: Bearer $(cat conf/run/admin.token)" \\
  http://127.0.0.1:1338/api/v2/admin/tenants
```

What an error means, by its `code`: [troubleshooting](troubleshooting.md#the-admin-api).
"""


def render(root: Path) -> str:
    """Return the page."""
    with (root / DESCRIPTION).open(encoding="utf-8") as file:
        return Description(yaml.safe_load(file)).page()


@attrs.frozen
class Description:
    """An OpenAPI document, and how its parts are shown."""

    tree: Mapping[str, Any]

    def page(self) -> str:
        lines = [_INTRODUCTION, self.tree["info"]["description"].rstrip(), ""]
        for tag in self.tree["tags"]:
            lines += [f"## {tag['name'].capitalize()}", "", f"{tag['description']}.", ""]
            for path, item in self.tree["paths"].items():
                for method in _METHODS:
                    operation = item.get(method)
                    if operation and tag["name"] in operation["tags"]:
                        shared = item.get("parameters", [])
                        lines += self._operation(f"{method.upper()} {path}", operation, shared)
        lines += ["## Schemas", "", "What the answers above hold.", ""]
        for name, schema in self.tree["components"]["schemas"].items():
            lines += [f"### {name}", "", *self._schema(schema), ""]
        return "\n".join(lines).rstrip() + "\n"

    def _operation(
        self, title: str, operation: Mapping[str, Any], shared: list[Any]
    ) -> Iterator[str]:
        yield f"### `{title}`"
        yield ""
        yield f"{operation['summary']} (`{operation['operationId']}`)."
        if "security" in operation:
            here = " from the machine itself" if any(operation["security"]) else ""
            yield f"It needs no token{here}."
        yield ""
        if "description" in operation:
            yield operation["description"].rstrip()
            yield ""
        parameters = [self._found(one) for one in (*shared, *operation.get("parameters", ()))]
        if parameters:
            yield "| parameter | in | type | meaning |"
            yield "| --- | --- | --- | --- |"
            for one in parameters:
                meaning = _cell(one.get("description", ""))
                yield f"| `{one['name']}` | {one['in']} | {self._type(one['schema'])} | {meaning} |"
            yield ""
        body = self._found(operation.get("requestBody", {}))
        for kind, media in body.get("content", {}).items():
            if self._found(media.get("schema", {})).get("properties"):
                needed = "" if body.get("required") else ", may be left out"
                yield f"Body (`{kind}`{needed}):"
                yield ""
                yield from self._schema(media["schema"])
                yield ""
        yield from self._answers(operation["responses"])

    def _answers(self, responses: Mapping[str, Any]) -> Iterator[str]:
        for status, given in responses.items():
            if status == "default":
                continue
            answer = self._found(given)
            yield f"Answer {status}: {_cell(answer['description'])}"
            yield ""
            for kind, media in answer.get("content", {}).items():
                if kind != "application/json":
                    yield f"As `{kind}`, too." if len(answer["content"]) > 1 else f"As `{kind}`."
                    yield ""
                    continue
                rows = [*self._schema(media["schema"])]
                if rows:
                    yield from rows
                    yield ""

    def _schema(self, schema: Mapping[str, Any]) -> Iterator[str]:
        """Yield a table of an object's keys; of any other schema one line, or none."""
        if "$ref" in schema:
            yield f"See {self._type(schema)}."
            return
        rows = [*self._rows(schema, "")]
        if rows:
            yield "| key | type | meaning |"
            yield "| --- | --- | --- |"
            yield from rows
        elif schema.get("type") != "object":
            yield f"It is: {self._type(schema)}.{_after(schema)}"

    def _rows(self, schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for part in schema.get("allOf", ()):
            if "$ref" in part:
                yield f"| | {self._type(part)} | all keys of it |"
            else:
                yield from self._rows(part, prefix)
        needed = schema.get("required", ())
        for name, value in schema.get("properties", {}).items():
            known = name in needed or not needed
            meaning = _cell(value.get("description", "")) + _default(value)
            often = "" if known else "*optional*"
            meaning = " ".join((often, meaning)).strip()
            yield f"| `{prefix}{name}` | {self._type(value)} | {meaning} |"
            inner, mark = (value["items"], "[]") if "items" in value else (value, "")
            if "$ref" not in inner:
                yield from self._rows(inner, f"{prefix}{name}{mark}.")

    def _type(self, schema: Mapping[str, Any]) -> str:
        """Return a schema's type in few words; of one with a name a link to it."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        if "anyOf" in schema:
            return " or ".join(self._type(one) for one in schema["anyOf"])
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            return " or ".join("null" if one is None else f"`{one}`" for one in values)
        if "items" in schema:
            return f"list of {self._type(schema['items'])}"
        kinds = schema.get("type", "anything")
        words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None:
            words += f", {low} to {high}" if high is not None else f", {low} or more"
        return words

    def _found(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a reference stands for."""
        if "$ref" not in schema:
            return schema
        found: Any = self.tree
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return self._found(found)


def _after(schema: Mapping[str, Any]) -> str:
    text = _cell(schema.get("description", ""))
    pattern = f" As `{schema['pattern']}`." if "pattern" in schema else ""
    examples = ", ".join(f"`{one}`" for one in schema.get("examples", ()))
    return f"{f' {text}' if text else ''}{pattern}{f' Such as {examples}.' if examples else ''}"


def _default(schema: Mapping[str, Any]) -> str:
    return f" (default `{json.dumps(schema['default'])}`)" if "default" in schema else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
