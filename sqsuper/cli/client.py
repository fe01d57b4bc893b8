"""A client of the admin API (`/api/v2/...` on the admin listener), for one command's requests."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from sqsuper.cli.errors import (
    CommandError,
    DeniedError,
    MissingError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from sqsuper.cli.finding import Access
from sqsuper.whereabouts import Address

TENANTS = "/api/v2/admin/tenants"
TIMEOUT = 60.0
MAX_ANSWER = 64 * 1024 * 1024
_MAX_LINE = 1024 * 1024


def tenant_path(name: str, *below: str) -> str:
    """Return the path of a tenant, or of what is below it; each part is escaped whole."""
    return "/".join([TENANTS, *(quote(part, safe="") for part in (name, *below))])


class Client:
    """Asks the service that `access` leads to; each request has a connection of its own.

    Every method raises a CommandError by what went wrong: UnreachableError, DeniedError (401,
    403), MissingError (404), RefusedError (other 4xx), ServiceError.
    """

    def __init__(self, access: Access, timeout: float = TIMEOUT) -> None:
        """`timeout`: seconds without a byte."""
        self._access = access
        self._timeout = timeout

    def get(self, path: str, **query: str | int) -> Any:
        """Return what JSON the API answers to a GET; `query` becomes its parameters."""
        return self.call("GET", f"{path}?{urlencode(query)}" if query else path)

    def call(
        self,
        method: str,
        target: str,
        body: Mapping[str, Any] | None = None,
        *,
        patient: bool = False,
    ) -> Any:
        """Return the JSON answer to one request; None for an empty one.

        `patient`: wait as long as it takes.
        """
        with self._answered(method, target, body, timeout=None if patient else 0.0) as answer:
            return _parsed(self._read(answer))

    def lines(self, path: str, **query: str | int) -> Iterator[str]:
        """Give the lines of a plain answer as they come, for as long as it goes on."""
        target = f"{path}?{urlencode(query)}" if query else path
        with self._answered("GET", target, None, timeout=None) as answer:
            while line := self._read_line(answer):
                yield line.decode("utf-8", "replace").rstrip("\r\n")

    def told(self, method: str, target: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Give the JSON lines of an answer that tells how far it is; the last has its `result`.

        An `error` instead is raised as what it would be as an answer.
        """
        with self._answered(method, target, body, timeout=None) as answer:
            while line := self._read_line(answer):
                told = _parsed(line)
                if not isinstance(told, dict):
                    raise ServiceError("the service's answer is no list of objects")
                if "error" in told:
                    raise refusal(int(told.get("status", 500)), line)
                yield told
                if "result" in told:
                    return
        raise ServiceError("the answer was cut: whether it was done, the service's log tells")

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            content = answer.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _cut(error) from None
        if len(content) > MAX_ANSWER:
            raise ServiceError("the answer is over 64 MiB")
        if answer.length:
            raise ServiceError("the answer was cut")
        return content

    def _read_line(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.readline(_MAX_LINE)
        except (OSError, http.client.HTTPException) as error:
            raise _cut(error) from None

    @contextmanager
    def _answered(
        self,
        method: str,
        target: str,
        body: Mapping[str, Any] | None,
        timeout: float | None = 0.0,
    ) -> Iterator[http.client.HTTPResponse]:
        fields = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._token()}",
            "Host": self._host(),
        }
        content = None
        if body is not None or method in ("POST", "PATCH", "PUT"):
            content = json.dumps(body or {}).encode()
            fields["Content-Type"] = "application/json"
        connection = _connection(self._access.address, self._timeout)
        try:
            try:
                connection.request(method, target, body=content, headers=fields)
                answer = connection.getresponse()
                if timeout is None and connection.sock is not None:
                    connection.sock.settimeout(None)
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from None
            if answer.status >= 300:
                raise refusal(answer.status, self._read(answer))
            yield answer
        finally:
            connection.close()

    def _token(self) -> str:
        """Return the admin token; without one, say first if nobody is there to take it."""
        if self._access.token is None:
            connection = _connection(self._access.address, self._timeout)
            try:
                connection.connect()
            except OSError as error:
                raise self._unreachable(error) from None
            finally:
                connection.close()
            raise DeniedError(f"no admin token: {self._access.missing}")
        return self._access.token

    def _host(self) -> str:
        # Always among the names that the listener takes, whatever interface it binds.
        port = self._access.address.port
        return f"localhost:{port}" if port else "localhost"

    def _unreachable(self, error: Exception) -> CommandError:
        address = self._access.address
        if isinstance(error, http.client.HTTPException):
            return ServiceError(f"what answers on {address} is not sqsuper's admin listener")
        return UnreachableError(
            f"no sqsuper answers on {address} ({_reason(error)});"
            f" start it with `sqsuper run -c {self._access.file}`"
        )


def refusal(status: int, content: bytes) -> CommandError:
    """Return the error that an answer with an error's status means, with the API's own words."""
    try:
        told = json.loads(content)
        said = told["error"]
        message = str(said["message"]) if isinstance(said, dict) else str(said)
        further = said.get("errors") if isinstance(said, dict) else None
        for line in further if isinstance(further, list) else ():
            if str(line) not in message:
                message += f"\n{line}"
    except (ValueError, LookupError, TypeError):
        message = f"the service answered {status}"
        first = content.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        if first and not first.startswith("<"):
            message += f": {first}"
    if status in (401, 403):
        return DeniedError(message)
    if status == 404:
        return MissingError(message)
    if status < 400 or status >= 500:
        return ServiceError(message)
    return RefusedError(message)


def _parsed(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError:
        raise ServiceError("the service's answer is not JSON") from None


def _cut(error: Exception) -> ServiceError:
    return ServiceError(f"the answer was cut: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _connection(address: Address, timeout: float) -> http.client.HTTPConnection:
    if address.path is not None:
        return _UnixConnection(address.path, timeout)
    if address.certificate is None:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    # The service's own certificate is at hand: nothing else is trusted, by whatever name.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(address.certificate)
    except (OSError, ssl.SSLError) as error:
        raise UnreachableError(f"{address.certificate}: {_reason(error)}") from None
    return http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket (for http.client)."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
