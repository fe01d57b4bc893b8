"""Write the manual pages and the shells' completion scripts into a directory.

`sqsuper.1` is made from the command's own definitions, `sqsuper.yaml.5` from the configuration
reference, which must name every key of the schema. Run from a checkout, with the libraries that
sqsuper itself needs: `python3 packaging/manpages.py DIRECTORY`. `SOURCE_DATE_EPOCH` is the date
that the pages bear.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import click
from click.shell_completion import get_completion_class

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqsuper import __version__  # noqa: E402
from sqsuper.cli.main import _SECTIONS, sqsuper  # noqa: E402
from sqsuper.config import schema  # noqa: E402

REFERENCE = ROOT / "docs" / "configuration.md"
COMPLETIONS = {
    "bash": "completions/bash/sqsuper",
    "zsh": "completions/zsh/_sqsuper",
    "fish": "completions/fish/sqsuper.fish",
}
# Of roff: what would be read as a request, an escape, or become a typographic sign.
_SIGNS = str.maketrans(
    {
        "\\": r"\e",
        "-": r"\-",
        "'": r"\(aq",
        '"': r"\(dq",
        "`": r"\(ga",
        "^": r"\(ha",
        "~": r"\(ti",
        "…": "...",
    }
)
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|\[([^]]+)\]\(([^)]+)\)")


def literal(text: str) -> str:
    """Return roff that shows `text` as it is."""
    return text.translate(_SIGNS)


def inline(text: str) -> str:
    """Return roff for one paragraph of Markdown: code, bold and emphasis; links as their text."""
    parts: list[str] = []
    at = 0
    for found in _INLINE.finditer(text):
        parts.append(literal(text[at : found.start()]))
        code, bold, emphasis, link, _ = found.groups()
        if code is not None or bold is not None:
            parts.append(rf"\fB{literal(code or bold)}\fR")
        elif emphasis is not None:
            parts.append(rf"\fI{literal(emphasis)}\fR")
        else:
            parts.append(inline(link))
        at = found.end()
    parts.append(literal(text[at:]))
    return _line("".join(parts))


def _line(text: str) -> str:
    return rf"\&{text}" if text.startswith(".") else text


def title(name: str, section: int, what: str) -> list[str]:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.now(timezone.utc) if epoch is None else _utc(int(epoch))
    day = moment.date().isoformat()
    return [
        r".\" Made by packaging/manpages.py.",
        f'.TH {name.upper()} {section} {day} "sqsuper {__version__}"',
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{literal(name)} \- {literal(what)}",
    ]


def _utc(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, timezone.utc)


def verbatim(lines: Iterable[str]) -> list[str]:
    return [".PP", ".RS 4", ".nf", *(_line(literal(line)) for line in lines), ".fi", ".RE"]


def joined(lines: list[str]) -> str:
    """Return a page's text, without requests for paragraphs where one begins anyway."""
    kept: list[str] = []
    for index, line in enumerate(lines):
        follows = lines[index + 1] if index + 1 < len(lines) else ".SH"
        begun = kept[-1:] and kept[-1].startswith((".SH", ".SS"))
        if line != ".PP" or not (begun or follows.startswith((".SH", ".TP", ".IP", ".PP"))):
            kept.append(line)
    return "\n".join(kept) + "\n"


# The command


def command_page() -> str:
    """Return sqsuper(1)."""
    context = click.Context(sqsuper, info_name="sqsuper")
    about = (sqsuper.help or "").rstrip(".")
    page = title("sqsuper", 1, "one authenticated port for many tenants' SQ")
    page += [
        ".SH SYNOPSIS",
        r".B sqsuper",
        r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".PP",
        r".B twistd \-n sqsuper",
        r"[\fB\-c\fR \fIFILE\fR]",
        ".SH DESCRIPTION",
        inline(
            f"{about}. It runs one SQ process a tenant, checks each request's token at one port,"
            " and relays the bytes unchanged to that tenant's process."
        ),
        ".PP",
        inline(
            "The service itself is a plugin of Twisted's `twistd`, which Debian calls `twistd3`;"
            " the Debian package runs it as `sqsuper.service`. The command `sqsuper` works on"
            " files alone, or asks the running service by its admin API, whose address and token"
            " it finds by the configuration: use the service's user, or root."
        ),
        ".SH OPTIONS",
        "These stand before a command's name or behind it.",
        *options(sqsuper, context, every=True),
    ]
    for heading, commands in _SECTIONS:
        page.append(f".SH {literal(heading.upper())}")
        for name in commands:
            command = sqsuper.get_command(context, name)
            assert command is not None
            page += described(command, name, context)
    page += [
        ".SH EXIT STATUS",
        *items(
            {
                "0": "done",
                "1": "failed, or something was found wrong; also: no or a broken configuration",
                "2": "wrong usage",
                "3": "no service answers",
                "4": "the admin token is missing, or is not taken",
                "5": "no such tenant or token",
                "6": "refused: a clash, a wrong value, a file that is kept by hand or is there",
                "7": "the service failed, or what answers is not sqsuper",
                "130": "interrupted, or not confirmed",
            }
        ),
        ".SH ENVIRONMENT",
        *items(
            {
                "SQSUPER_CONFIG": "the configuration, where no `-c` names one",
                "SQSUPER_ADMIN_TOKEN": "the token of the admin API",
            }
        ),
        ".SH FILES",
        *items(
            {
                "./conf/tenants.yaml, /etc/sqsuper/tenants.yaml": "the configuration, where"
                " neither option nor environment names one: the first that exists",
                "/etc/sqsuper/tenants.d/": "a tenant a file, with digests of its tokens",
                "/var/lib/sqsuper/": "the tenants' data (the Debian package's `data_root`)",
                "/run/sqsuper/admin.token": "the admin token, made anew when the service starts",
                "/var/log/sqsuper/": "the access log (the service's own is in the journal)",
            }
        ),
        ".SH SEE ALSO",
        r".BR sqsuper.yaml (5),",
        r".BR twistd3 (1)",
    ]
    return joined(page)


def described(command: click.Command, name: str, above: click.Context) -> Iterator[str]:
    """Yield what a command takes and does, and so on for those below it."""
    context = click.Context(command, info_name=name, parent=above)
    usage = " ".join(command.collect_usage_pieces(context))
    path = context.command_path.removeprefix("sqsuper ")
    yield f".SS {literal(path)}"
    yield rf"\fBsqsuper {literal(path)}\fR {literal(usage)}"
    for paragraph in (command.help or "").split("\f")[0].split("\n\n"):
        # Behind a line with a backspace stands what click leaves as it is.
        flowing, _, as_it_is = paragraph.partition("\b\n")
        if flowing.strip():
            yield ".PP"
            yield inline(" ".join(flowing.split()))
        if as_it_is:
            yield from verbatim(as_it_is.splitlines())
    yield from options(command, context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from described(found, below, context)


def options(command: click.Command, context: click.Context, *, every: bool = False) -> list[str]:
    """Return a command's options; without `every` not those that all commands have."""
    everyones = {"--json", "--config", "--help"}
    found = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option):
            continue
        if every or not everyones & {*parameter.opts}:
            found[record[0]] = record[1]
    return items(found)


def items(entries: dict[str, str]) -> list[str]:
    """Return a list of terms, each with its text in Markdown."""
    lines: list[str] = []
    for term, text in entries.items():
        lines += [".TP", rf"\fB{literal(term)}\fR", inline(text)]
    return lines


# The configuration


class MissingKeysError(Exception):
    """The reference does not name all keys. `keys`: those that it lacks."""

    def __init__(self, keys: frozenset[str]) -> None:
        self.keys = keys
        super().__init__(f"docs/configuration.md lacks {', '.join(sorted(keys))}")


def schema_keys() -> frozenset[str]:
    """Return the path of every key that a configuration may hold, by the code itself."""

    def below(section: schema.Section, prefix: str) -> Iterator[str]:
        if section is not schema.TOP:  # its `defaults` and `tenants` are told key by key
            yield from (prefix + name for name in section.apart)
        for name, reader in section.keys.items():
            if isinstance(reader, schema.Section):
                yield from below(reader, f"{prefix}{name}.")
            else:
                yield prefix + name

    return frozenset(
        (
            *below(schema.TOP, ""),
            *below(schema.SETTINGS, "defaults."),
            *schema.TENANT_KEYS,
            *schema.TENANT_TOKENS,
        )
    )


def configuration_page(reference: str) -> str:
    """Return sqsuper.yaml(5) from the reference in Markdown. Raises MissingKeysError."""
    page = title("sqsuper.yaml", 5, "the configuration of sqsuper")
    page.append(".SH DESCRIPTION")
    terms: set[str] = set()
    for block in blocks(reference):
        page += rendered(block, terms)
    missing = schema_keys() - terms
    if missing:
        raise MissingKeysError(missing)
    page += [
        ".SH FILES",
        *items(
            {
                "/etc/sqsuper/tenants.yaml": "the configuration of the Debian package",
                "/etc/sqsuper/tenants.d/*.yaml": "tenants, as the admin API and `sqsuper` write"
                " them",
            }
        ),
        ".SH SEE ALSO",
        r".BR sqsuper (1)",
    ]
    return joined(page)


def blocks(text: str) -> Iterator[list[str]]:
    """Yield Markdown's blocks, as their lines: what blank lines part, but code as a whole."""
    block: list[str] = []
    code = False
    for line in text.splitlines():
        if line.startswith("```"):
            code = not code
        if line.strip() or code:
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def rendered(block: list[str], terms: set[str]) -> list[str]:
    """Return roff for a block; the keys that a table explains are added to `terms`."""
    first = block[0]
    if first.startswith(("# ", "<!--")):
        return []
    if first.startswith("#"):
        return [f".SH {literal(first.lstrip('# ').replace('`', '').upper())}"]
    if first.startswith("```"):
        return verbatim(line for line in block[1:] if not line.startswith("```"))
    if first.startswith("|"):
        return table(block, terms)
    if first.startswith("* "):
        return listed(block)
    return [".PP", inline(" ".join(block))]


def listed(block: list[str]) -> list[str]:
    entries: list[str] = []
    for line in block:
        if line.startswith("* "):
            entries.append(line[2:])
        else:
            entries[-1] += " " + line.strip()
    lines: list[str] = []
    for entry in entries:
        lines += [r".IP \(bu 2", inline(entry)]
    return [*lines, ".PP"]


def table(block: list[str], terms: set[str]) -> list[str]:
    """Return the rows of a table of keys (key, type, default, meaning) as a list of terms."""
    lines: list[str] = []
    for row in block[2:]:
        key, kind, default, meaning = (cell.strip() for cell in _cells(row))
        terms.add(key.strip("`"))
        facts = kind + (f"; default {default}" if default else "")
        lines += [".TP", rf"{inline(key)} ({inline(facts)})", inline(meaning) or r"\&"]
    return [*lines, ".PP"]


def _cells(row: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", row.strip().strip("|"))
    return [cell.replace("\\|", "|") for cell in cells]


def completion(shell: str) -> str:
    """Return the script that makes `shell` complete `sqsuper`, for where it looks by itself."""
    found = get_completion_class(shell)
    assert found is not None
    text = found(sqsuper, {}, "sqsuper", "_SQSUPER_COMPLETE").source()
    if shell == "zsh":
        # The file is the body of a function, which is called when it is loaded; not every
        # version of click knows that.
        functions, _, _ = text.rpartition("\n}\n")
        text = f'{functions}\n}}\n\n_sqsuper_completion "$@"\n'
    return text


def main(into: Path) -> None:
    pages = {
        "sqsuper.1": command_page(),
        "sqsuper.yaml.5": configuration_page(REFERENCE.read_text(encoding="utf-8")),
        **{name: completion(shell) for shell, name in COMPLETIONS.items()},
    }
    for name, text in pages.items():
        file = into / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: manpages.py DIRECTORY")
    main(Path(sys.argv[1]))
