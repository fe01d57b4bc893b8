"""The OpenAPI file and the routes say the same."""

from __future__ import annotations

from typing import Any, cast

from sqsuper.admin.api import NEW_TENANT_KEYS, TENANT_CHANGES, Api, described
from sqsuper.admin.credentials import TOKEN_KEYS
from sqsuper.admin.routing import Access
from sqsuper.supervisor.instance import State

METHODS = {"get", "post", "put", "patch", "delete"}


def api() -> Api:
    nobody = cast("Any", None)
    return Api(nobody, nobody, healthy=lambda: True, metrics=nobody, clock=nobody)


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in described()["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_every_route_is_described_and_back() -> None:
    routes = {(route.method, route.path) for route in api().routes}
    assert routes == set(operations())


def test_what_needs_no_token_says_so() -> None:
    needs: dict[Access, Any] = {
        Access.OPEN: [],
        Access.SIGNED: None,
        Access.LOCAL: [{}, {"bearer": []}, {"session": []}],
    }
    found = operations()
    for route in api().routes:
        assert found[route.method, route.path].get("security") == needs[route.access], route.path


def test_every_parameter_of_a_path_is_described() -> None:
    document = described()
    known = {name.lower(): name for name in document["components"]["parameters"]}
    for path, item in document["paths"].items():
        named = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        given = {p["$ref"].rpartition("/")[2] for p in item.get("parameters", ())}
        assert given == {known[name] for name in named}, path


def test_names_are_unique_and_every_operation_says_what_it_does() -> None:
    found = list(operations().values())
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["tags"] for operation in found)
    assert all("default" in operation["responses"] for operation in found)


def test_the_states_and_keys_are_those_there_are() -> None:
    schemas = described()["components"]["schemas"]
    assert schemas["State"]["enum"] == [state.value for state in State] + ["removed"]
    assert set(schemas["NewTenant"]["properties"]) <= set(NEW_TENANT_KEYS)
    assert set(schemas["TenantChange"]["properties"]) <= set(TENANT_CHANGES)
    paths = described()["paths"]
    body = paths["/api/v2/admin/tenants/{tenant}/tokens"]["post"]["requestBody"]
    assert set(body["content"]["application/json"]["schema"]["properties"]) == set(TOKEN_KEYS)


def test_every_reference_leads_somewhere() -> None:
    document = described()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                place: Any = document
                for part in value["$ref"].removeprefix("#/").split("/"):
                    place = place[part]
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(document)
