"""A configuration file, and the files it includes, into one valid `Config`."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable
from pathlib import Path

import attrs

from sqsuper.config.check import Whole, check_whole
from sqsuper.config.credentials import Credential, read_admin_token
from sqsuper.config.errors import ConfigError, UnreadableError, WrongValueError
from sqsuper.config.located import Mapping
from sqsuper.config.model import DATA_ROOT, RUN_DIR, Config, Settings
from sqsuper.config.overlay import MARK, OVERLAY, TENANTS_DIR, overlay_of, read_overlay
from sqsuper.config.permissions import Account, check_directories, check_secret_file
from sqsuper.config.readers import Place, Places
from sqsuper.config.schema import SETTINGS, TOP
from sqsuper.config.source import Document, read_document
from sqsuper.config.tenants import Entry, Ground, read_tenants
from sqsuper.config.warn import warnings_of

MAX_INCLUDED = 20_000


def load(
    path: Path,
    read: Callable[[Path, str], Document] = read_document,
    service: Account | None = None,
) -> Config:
    """Read, merge and check the configuration at `path`; make nothing on disk.

    `read` gives the content of a file, whose path is absolute, by that and its name in errors.
    `service` is whose directories must be, where it is not who asks.

    By its name the file is JSON (.json), TOML (.toml) or else YAML. Raises ConfigError, whose
    text is one line that names the file as `path` has it.
    """
    file = Path(os.path.abspath(path))
    shown = str(path)
    main = read(file, shown)
    places: Places = {"": (shown, None)}
    at = Place(shown, "", file.parent, places)
    before = Config(
        file=file, data_root=Path(file.parent, DATA_ROOT), run_dir=Path(file.parent, RUN_DIR)
    )
    config: Config = TOP.merge(main.root, at, before)
    ground = Ground(_defaults(main.root, at), config.data_root)
    admin = _admin_token(main.root, at)
    if admin is not None:
        config = attrs.evolve(
            config, admin=attrs.evolve(config.admin, token_sha256=admin.token.sha256)
        )
    entries: dict[str, Entry] = {}
    _take_tenants(main, at, ground, entries)
    if admin is not None and admin.plain is not None:
        check_secret_file(main.status, shown, "a plain token", (shown, admin.line), admin.key)
    for included, included_shown in _included(config, at):
        document = read(included, included_shown)
        _refuse_other_keys(document)
        _take_tenants(document, attrs.evolve(at, file=included_shown), ground, entries)
    _take_overlay(file, at, entries)
    tenants = tuple(sorted((entry.tenant for entry in entries.values()), key=lambda t: t.name))
    config = attrs.evolve(config, tenants=tenants, defaults=ground.defaults)
    whole = Whole(config, shown, places, tuple(entries.values()), admin)
    check_whole(whole)
    check_directories(config, places, service)
    return attrs.evolve(config, warnings=warnings_of(whole))


def ensure_tenants_dir(config: Config) -> Path:
    """Return the directory of the included tenants' files, made with mode 0700 when missing.

    Raises ConfigError when it cannot be made.
    """
    directory = config.file.parent / TENANTS_DIR
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UnreadableError(
            str(directory), None, "", f"cannot be made: {error.strerror}", "make it with mode 0700"
        ) from None
    return directory


def _defaults(root: Mapping, at: Place) -> Settings:
    built_in = Settings()
    if "defaults" not in root.entries:
        return built_in
    below = at.child("defaults", root.lines["defaults"])
    settings: Settings = SETTINGS.merge(root.entries["defaults"], below, built_in)
    return settings


def _admin_token(root: Mapping, at: Place) -> Credential | None:
    section = root.entries.get("admin")
    if not isinstance(section, Mapping):
        return None
    return read_admin_token(section, at.child("admin", root.lines["admin"]))


def _take_tenants(document: Document, at: Place, ground: Ground, entries: dict[str, Entry]) -> None:
    """Add one file's tenants to `entries`; a file of plain tokens must be ours alone."""
    root = document.root
    if "tenants" not in root.entries:
        return
    below = at.child("tenants", root.lines["tenants"])
    given = root.entries["tenants"]
    read = read_tenants(given, below, document.source.path, ground, entries)
    if len(read) == 1 and is_managed(document):
        _mark_managed(read[0], entries)
    for entry in read:
        for credential in entry.credentials:
            if credential.plain is not None:
                check_secret_file(
                    document.status,
                    at.file,
                    "plain tokens",
                    (at.file, credential.line),
                    credential.key,
                )
                return


def is_managed(document: Document) -> bool:
    """Whether a file is one that we wrote, and may write again."""
    return document.source.text.startswith(MARK)


def _mark_managed(entry: Entry, entries: dict[str, Entry]) -> None:
    tenant = entry.tenant
    if tenant.origin.file.parts[-2:] == (TENANTS_DIR, f"{tenant.name}.yaml"):
        origin = attrs.evolve(tenant.origin, managed=True)
        entries[tenant.name] = attrs.evolve(entry, tenant=attrs.evolve(tenant, origin=origin))


def _take_overlay(file: Path, at: Place, entries: dict[str, Entry]) -> None:
    """Change what our overlay changes; of a tenant that is no more it says nothing."""
    shown = os.path.join(os.path.dirname(at.file), TENANTS_DIR, OVERLAY)
    for name, patch in read_overlay(overlay_of(file), shown).items():
        entry = entries.get(name)
        if entry is not None:
            entries[name] = attrs.evolve(entry, tenant=patch.apply(entry.tenant))


def _refuse_other_keys(document: Document) -> None:
    for key, line in document.root.lines.items():
        if key != "tenants":
            raise WrongValueError(
                document.source.shown,
                line,
                key,
                "an included file holds tenants: alone",
                "move the key to the main file",
            )


def _included(config: Config, at: Place) -> list[tuple[Path, str]]:
    """Return the included files as (resolved path, path as shown), in the names' order."""
    base = config.file.parent
    real_base = os.path.realpath(base)
    shown_base = os.path.dirname(at.file)
    names: set[str] = set()
    for pattern in config.include:
        _check_listable(pattern, base, shown_base)
        names.update(os.path.normpath(name) for name in glob.iglob(pattern, root_dir=base))
        if len(names) > MAX_INCLUDED:
            file, line = at.places.get("include", (at.file, None))
            raise WrongValueError(
                file,
                line,
                "include",
                f"more than {MAX_INCLUDED} files match",
                "put several tenants into one file",
            )
    main = os.path.realpath(config.file)
    found: list[tuple[Path, str]] = []
    for name in sorted(names):
        shown = os.path.join(shown_base, name)
        real = os.path.realpath(base / name)
        if real == main:
            continue
        if not real.startswith(real_base.rstrip(os.sep) + os.sep):
            raise UnreadableError(
                shown,
                None,
                "",
                f"is included, but lies outside {real_base}",
                "move it below the configuration's directory",
            )
        _check_regular(real, shown)
        found.append((Path(real), shown))
    return found


def _check_listable(pattern: str, base: Path, shown_base: str) -> None:
    """Refuse a directory that cannot be listed: its tenants would be missing without a word."""
    fixed = os.path.dirname(pattern)
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)
    directory = os.path.join(base, fixed)
    if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.X_OK):
        raise UnreadableError(
            os.path.join(shown_base, fixed), None, "", "cannot be listed", "chmod u+rx it"
        )


def _check_regular(path: str, shown: str) -> None:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise UnreadableError(shown, None, "", f"cannot be read: {error.strerror}") from None
    if not regular:
        raise UnreadableError(shown, None, "", "is no regular file", "include files alone")


__all__ = ["ConfigError", "check_directories", "ensure_tenants_dir", "load"]
