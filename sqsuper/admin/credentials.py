"""Tenants' tokens by the admin API: made, listed, rotated, revoked; each is shown once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from sqsuper import tokens
from sqsuper.admin import entries, views
from sqsuper.admin.audit import Audit
from sqsuper.admin.changing import Changing, marked
from sqsuper.admin.errors import BadRequestError, ConflictError, NotFoundError
from sqsuper.admin.guard import Who
from sqsuper.config.errors import ConfigError
from sqsuper.config.model import Scope, Tenant, Token
from sqsuper.config.overlay import Patch, overlay_of, read_overlay
from sqsuper.config.values import parse_duration

Entry = dict[str, Any]
TOKEN_KEYS = ("label", "scope", "not_before", "expires")
MIN_DIGITS = 8


class Credentials:
    """`entry(name)`: the tenant, or NotFoundError; `used(digest)`: Unix seconds or None."""

    def __init__(
        self,
        changing: Changing,
        audit: Audit,
        *,
        entry: Callable[[str], Tenant],
        used: Callable[[bytes], float | None],
        wall: Callable[[], float],
    ) -> None:
        self._changing = changing
        self._audit = audit
        self._entry = entry
        self._used = used
        self._wall = wall

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return a tenant's tokens, without what is secret. Raises NotFoundError.

        Those that the overlay revokes stand at the end, as long as it can be read.
        """
        tenant = self._entry(name)
        patch = Patch()
        if "revoked" in tenant.origin.overlay:
            file = overlay_of(self._changing.config.file)
            # One that became unreadable is told at the next reload; what is valid is known.
            with contextlib.suppress(ConfigError, OSError):
                patch = read_overlay(file, str(file)).get(name, patch)
        return views.tokens_of(tenant, patch, self._used, self._wall())

    def last_used(self, tenant: Tenant) -> dict[str, float | None]:
        """Return when each of a tenant's tokens was last admitted, by the digits of its digest."""
        return {tokens.label(one.sha256): self._used(one.sha256) for one in tenant.tokens}

    async def issue(self, name: str, given: Mapping[str, Any], who: Who) -> dict[str, Any]:
        """Make a token; only this answer shows it. `given`: some of `TOKEN_KEYS`.

        Raises NotFoundError, BadRequestError, ConflictError.
        """
        token, told = new_token(given, self._wall())
        async with self._changing as changing:
            tenant = self._entry(name)
            entry = await changing.read(tenant)
            _listed(entry).append(told)
            made = _token(changing, name, told)
            await changing.amend(name, entry, lambda one: _with(one, made))
        self._audit(who, "token.issue", name, tokens.label(made.sha256))
        return {"token": token, **views.token_of(made, None, self._wall())}

    async def revoke(self, name: str, which: str, who: Who) -> dict[str, Any]:
        """Let a token admit no more, and end what it began. `which`: see `find`.

        Raises NotFoundError, ConflictError.
        """
        async with self._changing as changing:
            tenant = self._entry(name)
            token = find(tenant, which)
            digest = token.sha256
            self._used(digest)  # it is remembered; the gateway forgets that token now

            def without(one: Tenant) -> Tenant:
                kept = tuple(token for token in one.tokens if token.sha256 != digest)
                return attrs.evolve(one, tokens=kept)

            if tenant.origin.managed:
                entry = await changing.read(tenant)
                _take_out(entry, digest)
                await changing.amend(name, entry, without)
            else:
                await changing.overlay(
                    name,
                    lambda patch: attrs.evolve(patch, revoked=(*patch.revoked, digest)),
                    lambda one: marked(without(one), "revoked"),
                )
        self._audit(who, "token.revoke", name, tokens.label(digest))
        return {"tenant_id": name, "digest8": tokens.label(digest), "state": "revoked"}

    async def rotate(
        self, name: str, which: str, given: Mapping[str, Any], who: Who
    ) -> dict[str, Any]:
        """Make a token like another one, which stays valid for `overlap` (a time) more.

        Without `overlap`: `token_overlap`. Raises NotFoundError, BadRequestError, ConflictError.
        """
        async with self._changing as changing:
            overlap = _overlap(given, changing.config.token_overlap)
            tenant = self._entry(name)
            entry = await changing.read(tenant)
            old = find(tenant, which)
            now = self._wall()
            like = {"label": old.label, "scope": old.scope.value}
            if old.expires is not None and old.expires.timestamp() <= now:
                raise ConflictError(f"{which} has expired: issue a new token instead")
            token, told = new_token(like, now)
            end = now + overlap
            if old.expires is not None:
                told["expires"] = views.moment_text(old.expires.timestamp())
                end = min(end, old.expires.timestamp())
            ending = _ending(entry, old, views.moment_text(end))
            ended = _token(changing, name, ending)
            made = _token(changing, name, told)
            _take_out(entry, old.sha256)
            _listed(entry).extend([ending, told])
            await changing.amend(name, entry, lambda one: _with(one, ended, made))
        digits = tokens.label(old.sha256)
        self._audit(who, "token.rotate", name, f"{digits} to {tokens.label(made.sha256)}")
        shown = views.token_of(made, None, self._wall())
        return {
            "token": token,
            **shown,
            "replaces": views.token_of(ended, self._used(old.sha256), self._wall()),
        }


def new_token(given: Mapping[str, Any], wall: float) -> tuple[str, Entry]:
    """Return a new token and its entry. Raises BadRequestError.

    `given`: some of `TOKEN_KEYS`, still to be checked; `expires` may be a time from now on.
    """
    for key in given:
        if key not in TOKEN_KEYS:
            raise BadRequestError(
                f"unknown key {key[:40]}; the keys here are {', '.join(TOKEN_KEYS)}"
            )
    token = tokens.make()
    told: Entry = {"sha256": tokens.digest(token).hex(), "created": views.moment_text(wall)}
    for key in TOKEN_KEYS:
        value = given.get(key)
        if value is None or (key != "label" and value in {"none", "never"}):
            continue
        told[key] = _moment(value, wall) if key in {"not_before", "expires"} else value
    return token, told


def _moment(value: object, wall: float) -> object:
    """Return a time of the calendar; a duration is one that is so far from now."""
    if isinstance(value, str) and value[-1:] in {"s", "m", "h"}:
        try:
            return views.moment_text(wall + parse_duration(value))
        except ValueError:
            return value
    return value


def _overlap(given: Mapping[str, Any], default: float) -> float:
    for key in given:
        if key != "overlap":
            raise BadRequestError(f"unknown key {key[:40]}; the keys here are overlap")
    value = given.get("overlap")
    if value is None:
        return default
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise BadRequestError("overlap must be a number of seconds, or 100ms, 5s, 15m, 1h")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise BadRequestError(f"overlap must be {error}") from None


def find(tenant: Tenant, which: str) -> Token:
    """Return the token whose digest begins with `which` (8 hex digits or more), or of that label.

    Raises NotFoundError; ConflictError where there are several.
    """
    found: list[Token] = []
    if len(which) >= MIN_DIGITS:
        found = [token for token in tenant.tokens if token.sha256.hex().startswith(which.lower())]
    found = found or [token for token in tenant.tokens if token.label == which]
    if not found:
        raise NotFoundError("the tenant has no such token; name it by its digest8 or its label")
    if len(found) > 1:
        named = ", ".join(tokens.label(token.sha256) for token in found)
        raise ConflictError(f"several tokens are called so; name one by its digest8: {named}")
    return found[0]


def _token(changing: Changing, name: str, told: Entry) -> Token:
    """Return the token of an entry as the configuration reads it. Raises BadRequestError."""
    return entries.checked(changing.config, name, {"token_sha256": [told]}).tokens[0]


def _listed(entry: Entry) -> list[Any]:
    listed: list[Any] = entry.setdefault("token_sha256", [])
    return listed


def _is(told: object, digest: bytes) -> bool:
    """Whether an item of a list of tokens is that one."""
    if isinstance(told, dict):
        if "token" in told:
            return tokens.digest(str(told["token"])) == digest
        told = told.get("sha256")
        return isinstance(told, str) and told.lower() == digest.hex()
    return isinstance(told, str) and (told.lower() == digest.hex() or tokens.digest(told) == digest)


def _take_out(entry: Entry, digest: bytes) -> None:
    for key in ("tokens", "token_sha256"):
        if key in entry:
            entry[key] = [told for told in entry[key] or [] if not _is(told, digest)]
            if not entry[key]:
                del entry[key]


def _ending(entry: Entry, token: Token, expires: str) -> Entry:
    """Return a token's item with an end; a plain one becomes a digest."""
    for key in ("tokens", "token_sha256"):
        for told in entry.get(key) or []:
            if _is(told, token.sha256):
                kept = dict(told) if isinstance(told, dict) else {}
                kept.pop("token", None)
                return entries.as_json({"sha256": token.sha256.hex(), **kept, "expires": expires})
    return {"sha256": token.sha256.hex(), "scope": Scope(token.scope).value, "expires": expires}


def _with(tenant: Tenant, *last: Token) -> Tenant:
    """Return it with these tokens at the end, instead of what it had of their digests.

    It may have them: a reload may have read the file since it was written.
    """
    digests = {token.sha256 for token in last}
    kept = (token for token in tenant.tokens if token.sha256 not in digests)
    return attrs.evolve(tenant, tokens=(*kept, *last))
