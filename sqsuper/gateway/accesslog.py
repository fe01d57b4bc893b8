"""The access log: one line for every request that was answered, refused or cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger

from sqsuper.config.model import Gateway
from sqsuper.gateway.limits import Network, client_address
from sqsuper.gateway.logfile import STANDARD_OUTPUT, LogFile
from sqsuper.gateway.memo import AdmittedHead
from sqsuper.gateway.redaction import Redaction, escaped, secrets_of
from sqsuper.http1 import credentials
from sqsuper.http1.credentials import Grant
from sqsuper.http1.head import METHODS, RequestHead

if TYPE_CHECKING:
    from sqsuper.http1.head import Field

# What nginx calls a request whose client went before it was answered.
CLIENT_GONE = 499

# Of the escaped text. Together they keep a line below `logfile.PIECE`, so that it is written
# whole wherever it goes, and below the 8 KiB to which every log line is cut.
MAX_TARGET = 1536
MAX_FIELD = 384
MAX_REQUEST_ID = 128
MAX_ADDRESS = 64

FLUSH_BYTES = 262_144
# What may wait to be written; past it lines are dropped.
MAX_PENDING = 8 * 1024 * 1024
REPORT_INTERVAL = 60.0
CLOSE_PATIENCE = 2.0
MAX_REMEMBERED = 4096

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

log = Logger()


class _Fields:
    """What a line says of a request's fields."""

    __slots__ = ("forwarded", "request_id", "secrets", "targets", "text")

    def __init__(
        self, text: str, secrets: Sequence[bytes], forwarded: Sequence[bytes], request_id: bytes
    ) -> None:
        self.text = text
        self.secrets = secrets
        self.forwarded = forwarded
        self.request_id = request_id  # the client's own
        self.targets: dict[bytes, str] = {}  # as they are shown with these fields


class AccessLog:
    """Makes the lines and gives them to `file` in batches: by size, and at each `sweep`.

    `json`: JSON lines, else the combined format with more behind it (`docs/access-log.md`).
    `lookup` finds a grant by a token's digest, so that no token is shown; `now` is in Unix
    seconds. Peers in `trusted` tell the client's address by X-Forwarded-For.
    """

    def __init__(
        self,
        file: LogFile,
        *,
        json: bool,
        lookup: Callable[[bytes], Grant | None],
        trusted: Sequence[Network] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0  # lines, since the start
        self._file = file
        self._json = json
        self._redaction = Redaction(lookup)
        self._trusted = tuple(trusted)
        self._now = now
        self._lines: list[str] = []
        self._size = 0
        self._second = -1
        self._stamp = ""
        self._no_fields = self._fields_text(b"", b"")
        self._fields: dict[int, tuple[list[Field], _Fields]] = {}
        self._remembered = 0
        self._addresses: dict[tuple[str, bytes], str] = {}
        self._reported_at: float | None = None
        self._reported = (0, 0)

    @classmethod
    def of(
        cls,
        gateway: Gateway,
        lookup: Callable[[bytes], Grant | None],
        now: Callable[[], float] = time.time,
    ) -> AccessLog | None:
        """Return the log that the configuration asks for, or None. Nothing is opened yet."""
        path = gateway.access_log
        if path is None:
            return None
        return cls(
            LogFile(path),
            json=path.lower().endswith((".json", ".jsonl")),
            lookup=lookup,
            trusted=gateway.trusted_proxies,
            now=now,
        )

    def open(self) -> None:
        """Open the file. Raises OSError."""
        self._file.open()

    def reopen(self) -> None:
        """Open the file anew, for example after it was renamed; no line is lost by it."""
        self._flush()
        self._file.reopen()

    def close(self) -> None:
        """Write what is left (waiting for a slow disk no longer than `CLOSE_PATIENCE`)."""
        self._flush()
        whole = self._file.close(CLOSE_PATIENCE)
        self.dropped += self._file.lost
        self._report()
        if not whole:
            log.warn("access log {path}: its last lines could not be written", path=self._file.path)

    def sweep(self, now: float) -> None:
        """Write what has come together; report, at most once a minute, what went wrong."""
        # Tokens may have changed: what was found to hold none is looked at again.
        self._forget()
        self._flush()
        due = self._reported_at is None or now - self._reported_at >= REPORT_INTERVAL
        if due and self._report():
            self._reported_at = now

    # Lines

    def request(
        self,
        peer: str,
        head: RequestHead,
        *,
        status: int,
        body: int,
        sent: int,
        seconds: float,
        upstream: float | None = None,
        tenant: str = "",
        request_id: bytes = b"",
        cut: bool = False,
    ) -> None:
        """Note a request with a whole head.

        `status`, `body` and `sent` (bytes of its body, and in all) are of the answer;
        `seconds` counts from the request's first byte, `upstream` from when it went to the
        instance (None: never). `cut`: the client did not get all of the answer.
        """
        # The same lines, of a known head, are the same object.
        entry = self._fields.get(id(head.fields))
        fields = entry[1] if entry is not None and entry[0] is head.fields else self._read(head)
        target = fields.targets.get(head.target)
        if target is None:
            target = self._target(head.target, fields)
        if fields.request_id:
            shown_id = escaped(
                self._redaction.text(request_id or fields.request_id, fields.secrets),
                MAX_REQUEST_ID,
            )
        else:
            shown_id = request_id.decode("ascii")
        self._add(
            self._address(peer, fields.forwarded) if fields.forwarded else peer,
            head.method.decode("ascii"),
            target,
            "HTTP/1.1" if head.minor else "HTTP/1.0",
            fields.text,
            status,
            body,
            sent,
            seconds,
            upstream,
            tenant,
            shown_id,
            cut,
        )

    def answered(
        self,
        peer: str,
        head: RequestHead,
        answer: bytes,
        *,
        seconds: float,
        upstream: float | None = None,
        tenant: str = "",
        request_id: bytes = b"",
    ) -> None:
        """Note a whole answer of our own; the rest is as in `request`."""
        status, body, sent = _facts(answer)
        self.request(
            peer,
            head,
            status=status,
            body=body,
            sent=sent,
            seconds=seconds,
            upstream=upstream,
            tenant=tenant,
            request_id=request_id,
        )

    def refused(
        self,
        peer: str,
        method: bytes,
        target: bytes,
        answer: bytes,
        *,
        seconds: float,
    ) -> None:
        """Note an answer of our own to what is no whole or no right head.

        `method` and `target` are what stands in their place: shown only if they can be that.
        """
        # Anything may stand there: a piece of a body, a credential field.
        shown = method in METHODS and target.startswith(b"/")
        self._add(
            peer,
            method.decode("ascii") if shown else "",
            self._redaction.target(target, (), MAX_TARGET) if shown else "",
            "",
            self._no_fields,
            *_facts(answer),
            seconds,
            None,
            "",
            "",
            False,
        )

    def _add(  # noqa: PLR0917 - named arguments cost a tenth of the line
        self,
        address: str,
        method: str,
        target: str,
        version: str,
        fields: str,
        status: int,
        body: int,
        sent: int,
        seconds: float,
        upstream: float | None,
        tenant: str,
        request_id: str,
        cut: bool,
    ) -> None:
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._stamp = _json_time(second) if self._json else _combined_time(second)
        if self._json:
            line = (
                f'{{"time":"{self._stamp}","address":{_text(address)},"tenant":{_text(tenant)},'
                f'"method":{_text(method)},"target":{_text(target)},"version":{_text(version)},'
                f'"status":{status},"body_bytes":{body},"bytes":{sent},{fields},'
                f'"upstream_time":{"null" if upstream is None else f"{upstream:.6f}"},'
                f'"request_time":{seconds:.6f},"request_id":{_text(request_id)},'
                f'"cut":{"true" if cut else "false"}}}\n'
            )
        else:
            line = (
                f'{address or "-"} - - [{self._stamp}] "{method or "-"}{target and " "}{target}'
                f'{version and " "}{version}" {status} {body} {fields} tenant={tenant or "-"}'
                f" upstream={'-' if upstream is None else f'{upstream:.6f}'} time={seconds:.6f}"
                f" bytes={sent} id={request_id or '-'}{' cut' if cut else ''}\n"
            )
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self._flush()

    def _read(self, head: RequestHead) -> _Fields:
        referer = agent = request_id = b""
        forwarded = []
        for name, value, _line in head.fields:
            if name == b"user-agent":
                agent = value
            elif name == b"referer":
                referer = value
            elif name == b"x-forwarded-for":
                forwarded.append(value)
            elif name == b"x-request-id" and credentials.is_token(value):
                request_id = value
        secrets = secrets_of(head.fields)
        text = self._fields_text(
            self._redaction.referer(referer, secrets), self._redaction.text(agent, secrets)
        )
        fields = _Fields(text, secrets, forwarded if self._trusted else (), request_id)
        if type(head) is AdmittedHead:
            if self._remembered >= MAX_REMEMBERED:
                self._forget()
            self._remembered += 1
            self._fields[id(head.fields)] = (head.fields, fields)
        return fields

    def _target(self, target: bytes, fields: _Fields) -> str:
        shown = self._redaction.target(target, fields.secrets, MAX_TARGET)
        if self._remembered >= MAX_REMEMBERED:
            self._forget()
        self._remembered += 1
        fields.targets[target] = shown
        return shown

    def _forget(self) -> None:
        self._fields.clear()
        self._remembered = 0

    def _fields_text(self, referer: bytes, agent: bytes) -> str:
        shown = [escaped(value, MAX_FIELD) for value in (referer, agent)]
        if self._json:
            return f'"referer":{_text(shown[0])},"user_agent":{_text(shown[1])}'
        return f'"{shown[0] or "-"}" "{shown[1] or "-"}"'

    def _address(self, peer: str, forwarded: Sequence[bytes]) -> str:
        key = (peer, b",".join(forwarded))
        address = self._addresses.get(key)
        if address is None:
            found = client_address(peer, forwarded, self._trusted)
            # A scope (`fe80::1%…`) is any text.
            raw = found.encode("utf-8", "backslashreplace")
            address = escaped(raw, MAX_ADDRESS).replace(" ", "\\x20")
            if len(self._addresses) >= MAX_REMEMBERED:
                self._addresses.clear()
            self._addresses[key] = address
        return address

    # Batches

    def _flush(self) -> None:
        if not self._lines:
            return
        if self._file.pending + self._size > MAX_PENDING:
            self.dropped += len(self._lines)
        else:
            self._file.write("".join(self._lines).encode("ascii"))
        self._lines.clear()
        self._size = 0

    def _report(self) -> bool:
        now = (self.dropped, self._file.failures)
        dropped, failures = (new - old for new, old in zip(now, self._reported, strict=True))
        if not dropped and not failures:
            return False
        self._reported = now
        log.warn(
            "access log {path}: {dropped} lines were dropped; {failures} writes failed{problem}",
            path="standard output" if self._file.path == STANDARD_OUTPUT else self._file.path,
            dropped=dropped,
            failures=failures,
            problem=f" ({self._file.problem})" if failures else "",
        )
        return True


def _facts(answer: bytes) -> tuple[int, int, int]:
    """Return an answer's status, and the size of its body and of all of it."""
    return int(answer[9:12]), len(answer) - answer.find(b"\r\n\r\n") - 4, len(answer)


def _text(shown: str) -> str:
    """Return escaped text as a JSON string, whose value is that text; null for none."""
    if not shown:
        return "null"
    return '"' + shown.replace("\\", "\\\\") + '"' if "\\" in shown else f'"{shown}"'


def _combined_time(second: int) -> str:
    at = time.gmtime(second)
    # Not by strftime, whose month's name is in the language of the system.
    return (
        f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}"
        f":{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
    )


def _json_time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
