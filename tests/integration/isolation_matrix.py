"""All that a tenant may try to get at another's data, as requests, and how a leak is seen."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import attrs

FIRST = "1.1.1/1.1.1/1.1.1"
SECOND = "2.1.1/1.1.1/1.1.1"


@attrs.frozen
class Tenant:
    """One tenant: `secret` is the text in its phexts, `hidden` the secret name of one of them."""

    name: str
    token: str
    secret: str
    directory: Path
    embedded: bool
    port: int

    @property
    def known(self) -> str:
        """The phext whose name everybody knows."""
        return f"only-{self.name}"

    @property
    def hidden(self) -> str:
        return f"hidden-{hashlib.sha256(self.secret.encode()).hexdigest()[:16]}"

    @property
    def mark(self) -> str:
        """What it writes wherever it can."""
        return f"mark-of-{self.name}"


@attrs.frozen
class Attempt:
    """One request; `denied`: it has no token that would admit it to anything there."""

    what: str
    method: str
    raw: bytes
    denied: bool


@attrs.frozen
class Endpoint:
    """One endpoint, asked in one way: `path` has places for a name `{p}` and a text `{s}`."""

    method: str
    path: str
    body: str = ""


READS = (
    Endpoint("GET", "select?p={p}&c=" + FIRST),
    Endpoint("GET", "toc?p={p}"),
    Endpoint("GET", "get?p={p}"),
    Endpoint("GET", "json-export?p={p}"),
    Endpoint("GET", "delta?p={p}"),
    Endpoint("POST", "delta?p={p}", f"{FIRST}: {'0' * 32}\n"),
)
"""Those that show the text of a phext."""

OTHERS = (
    Endpoint("GET", "version"),
    Endpoint("GET", "load?p={p}"),
    Endpoint("GET", "export?p={p}"),
    Endpoint("GET", "checksum?p={p}"),
    Endpoint("GET", "status"),
    Endpoint("GET", "status?p={p}"),
    Endpoint("GET", "list"),
    Endpoint("GET", "search?p={p}&q=secret"),
    Endpoint("POST", "where?p={p}", "secret"),
    Endpoint("GET", "insert?p={p}&c=" + SECOND + "&s={s}"),
    Endpoint("POST", "insert?p={p}&c=" + SECOND, "{s}"),
    Endpoint("GET", "update?p={p}&c=" + SECOND + "&s={s}"),
    Endpoint("POST", "update?p={p}&c=" + SECOND, "{s}"),
    Endpoint("GET", "delete?p={p}&c=" + FIRST),
    Endpoint("POST", "delete?p={p}&c=" + FIRST),
    Endpoint("DELETE", "delete?p={p}&c=" + FIRST),
    Endpoint("POST", "batch", "batch"),
)
ENDPOINTS = (*READS, *OTHERS)


def good_fields(token: str, other: str) -> tuple[tuple[str, ...], ...]:
    """Return every form of field lines that admits with `token`, and never with `other`."""
    return (
        (f"Authorization: Bearer {token}",),
        (f"authorization: bearer {token}",),
        (f"AUTHORIZATION:  BEARER   {token} ",),
        (f"Authorization: {token}",),
        (f"X-SQ-API-Key: {token}",),
        (f"x-sq-api-key:{token}",),
        (f"Authorization: Bearer {token}", f"X-SQ-API-Key: {token}"),
        ("Authorization: Bearer of-nobody", f"X-SQ-API-Key: {token}"),
        (f"Authorization: Bearer {token}", f"X_SQ_API_Key: {other}"),
        (f"Authorization: Bearer {token}", f"Cookie: token={other}; key={other}"),
        (f"Authorization: Bearer {token}", f"Proxy-Authorization: Bearer {other}"),
        (f"X-SQ-API-Key: {token}", f"X-API-Key: {other}", f"X-Authorization: Bearer {other}"),
    )


def bad_values(token: str, other: str) -> tuple[str, ...]:
    """Return what resembles `token` and is not it; `other` is a token of somebody else."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return (
        *(token[:-1], token[:16], token[:8], token[:1], token[1:], f"{token}x", f"x{token}"),
        *(token.upper(), token.swapcase(), token.capitalize(), token[::-1]),
        *(f"{token}{token}", f"{token} {token}", f"{token},{token}", f"{other}, {token}"),
        *(f"{token};{other}", f'"{token}"', f"<{token}>", f"token={token}", f"Bearer {token}"),
        *(f"{token}%00", f"%{ord(token[0]):02x}{token[1:]}", f"{token}\\0", f"{token}*", "*", "%"),
        *(digest, digest[:8], digest.upper(), base64.b64encode(token.encode()).decode()),
        *("", "null", "none", "undefined", "0", "true"),
    )


def bad_fields(attacker: Tenant, victim: Tenant) -> tuple[tuple[str, ...], ...]:
    """Return every form of field lines that must admit to nothing."""
    mine, token = attacker.token, victim.token
    values = bad_values(token, mine)
    basic = base64.b64encode(f"{victim.name}:{token}".encode()).decode()
    pairs = ((token, token), (mine, token), (token, mine))
    return (
        (),
        *((f"Authorization: Bearer {value}",) for value in values),
        *((f"X-SQ-API-Key: {value}",) for value in values),
        (f"Authorization: Basic {basic}",),
        (f"Authorization: Digest {token}",),
        (f"Authorization: Bearer\t{token}",),
        (f"Authorization: Bearer={token}",),
        (f"Authorization: {victim.name}",),
        # The same field twice, in any spelling.
        *((f"Authorization: Bearer {one}", f"Authorization: Bearer {two}") for one, two in pairs),
        *((f"Authorization: {one}", f"authorization: Bearer {two}") for one, two in pairs),
        *((f"X-SQ-API-Key: {one}", f"x-sq-api-key: {two}") for one, two in pairs),
        # Fields that carry no token.
        (f"Proxy-Authorization: Bearer {token}",),
        (f"X_SQ_API_Key: {token}",),
        (f"X-API-Key: {token}",),
        (f"Cookie: token={token}; Authorization={token}; sqsuper-session={token}",),
        (f"X-Forwarded-Authorization: Bearer {token}", f"X-Tenant: {victim.name}"),
        (f"Authorization-: Bearer {token}", f"X-SQ-API-Key2: {token}"),
        ("Connection: close, X-SQ-API-Keys", f"X-SQ-API-Keys: {token}"),
    )


def names(attacker: Tenant, victim: Tenant) -> tuple[str, ...]:
    """Return what `p` may be, as it stands in a query, to mean the victim's phext."""
    base, file = victim.directory, victim.known
    below = base.name
    plain = (
        f"../{below}/{file}",
        f"./../{below}/{file}",
        f"x/../../{below}/{file}",
        f"../../{base.parent.name}/{below}/{file}",
        f"....//{below}/{file}",
        f"..\\{below}\\{file}",
        f"{below}/{file}",
        f"{base}/{file}",
        f"/{base}/{file}",
        f"file://{base}/{file}",
        f"~/../{below}/{file}",
        f"../{below}/{file}.phext",
        f"../{below}/{file}\0",
        f"..／{below}／{file}",  # noqa: RUF001 - that is the attempt
        f"․․/{below}/{file}",  # noqa: RUF001
    )
    linked = (f"link-{victim.name}", f"link-{victim.name}.phext", f"into-{victim.name}/{file}")
    return (
        file,
        f"{file}.phext",
        *itertools.chain.from_iterable((quote(name), quote(name, safe="")) for name in plain),
        quote(quote(f"../{below}/{file}", safe=""), safe=""),
        f"..%c0%af{below}%c0%af{file}",
        f"%c0%ae%c0%ae/{below}/{file}",
        f"%e0%80%ae./{below}/{file}",
        f"%uff0e%uff0e/{below}/{file}",
        f"x&p=../{below}/{file}",
        f"x;p=../{below}/{file}",
        "..",
        "",
        *(linked if attacker.embedded else ()),
    )


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Give what `attacker` may send, with its own token, to who serves it.

    Each endpoint meets each form of field lines and each name; not each form each name.
    """
    named = itertools.cycle(names(attacker, victim))
    good = good_fields(attacker.token, victim.token)
    for endpoint, fields in itertools.product(ENDPOINTS, good):
        yield _attempt(endpoint, fields, next(named), attacker, denied=False)
    forms = itertools.cycle(good)
    for endpoint, name in itertools.product(ENDPOINTS, names(attacker, victim)):
        yield _attempt(endpoint, next(forms), name, attacker, denied=False)
    for path in strange_paths(victim):
        yield _attempt(Endpoint("GET", path), next(forms), victim.known, attacker, denied=False)


def strangers_attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Give what `attacker` may try as if it were `victim`, with no good token of anybody.

    Each endpoint meets each form.
    """
    for endpoint, fields in itertools.product(ENDPOINTS, bad_fields(attacker, victim)):
        yield _attempt(endpoint, fields, victim.known, attacker, denied=True)
    token = quote(victim.token)
    for key in ("token", "key", "api_key", "access_token", "Authorization", "X-SQ-API-Key"):
        for path in (f"select?p={{p}}&c={FIRST}&{key}={token}", f"get?{key}={token}&p={{p}}"):
            yield _attempt(Endpoint("GET", path), (), victim.known, attacker, denied=True)
    form = f"token={token}&api_key={token}"
    yield _attempt(Endpoint("POST", "delta?p={p}", form), (), victim.known, attacker, denied=True)


def double_attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Give what tries to be two tenants at once, each by its good token, where both are known."""
    for one, two in ((attacker, victim), (victim, attacker)):
        fields = (f"Authorization: Bearer {one.token}", f"X-SQ-API-Key: {two.token}")
        for endpoint in ENDPOINTS:
            yield _attempt(endpoint, fields, victim.known, attacker, denied=True)


def foreign_attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Give what `attacker` may try, with its own good token, at a port that is not its own."""
    good = good_fields(attacker.token, victim.token)
    for endpoint, fields in itertools.product(ENDPOINTS, good):
        yield _attempt(endpoint, fields, victim.known, attacker, denied=True)


def strange_paths(victim: Tenant) -> tuple[str, ...]:
    """Return targets, below `/api/v2/`, that are none of an endpoint's."""
    end = f"?p={{p}}&c={FIRST}"
    return (
        f"../{victim.name}/api/v2/select{end}",
        f"%2e%2e/{victim.name}/select{end}",
        f"{victim.name}/select{end}",
        f"select/{victim.name}{end}",
        f"select@{victim.name}{end}",
        f"select{end}&tenant={victim.name}&data_dir={victim.directory}",
        f"select;tenant={victim.name}{end}",
        f"/select{end}",
        f"../../{victim.directory}/{victim.known}.phext",
    )


def own_reads(tenant: Tenant) -> Iterator[Attempt]:
    """Give what shows a tenant its own phext: its secret must be seen in each answer."""
    good = itertools.cycle(good_fields(tenant.token, "of-nobody"))
    for endpoint in READS:
        yield _attempt(endpoint, next(good), tenant.known, tenant, denied=False)


def _attempt(
    endpoint: Endpoint, fields: Sequence[str], name: str, attacker: Tenant, *, denied: bool
) -> Attempt:
    target = "/api/v2/" + endpoint.path.replace("{p}", name).replace("{s}", attacker.mark)
    if endpoint.body == "batch":
        operations = [{"op": "select", "p": name, "c": FIRST}]
        operations.append({"op": "update", "p": name, "c": SECOND, "s": attacker.mark})
        body = json.dumps(operations).encode()
    else:
        body = endpoint.body.replace("{s}", attacker.mark).encode()
    lines = [f"{endpoint.method} {target} HTTP/1.1", "Host: localhost", *fields]
    if endpoint.method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    raw = "\r\n".join([*lines, "\r\n"]).encode("utf-8") + body
    return Attempt(f"{attacker.name}: {lines}", endpoint.method, raw, denied)


def leaked(attempt: Attempt, answer: bytes, asker: Tenant, tenants: Sequence[Tenant]) -> list[str]:
    """Return what the answer shows of those other than `asker` that was not in the request."""
    return [
        told
        for tenant in tenants
        if tenant is not asker
        # Who lists another's phexts tells the name that nobody could have asked for.
        for told in (tenant.secret, tenant.hidden, tenant.token)
        if told.encode() in answer and told.encode() not in attempt.raw
    ]


def trespasses(tenants: Sequence[Tenant], elsewhere: Path) -> list[str]:
    """Return the files that hold a mark of somebody who had no business there.

    Looked at is all below each tenant's directory and below `elsewhere`.
    """
    found = []
    for file in elsewhere.rglob("*"):
        if file.is_symlink() or not file.is_file():
            continue
        owner = next((t for t in tenants if file.is_relative_to(t.directory)), None)
        held = file.read_bytes()
        found += [
            f"{tenant.name} wrote to {file}"
            for tenant in tenants
            if tenant is not owner and tenant.mark.encode() in held
        ]
    return found
