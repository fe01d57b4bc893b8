"""A client of the admin listener, for tests."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any

import attrs

from tests.running import Answer, Running, eventually, listens

JSON_TYPE = {"Content-Type": "application/json"}


@attrs.define
class Admin:
    """Asks the admin listener of a sqsuper that runs, with its token unless told otherwise."""

    running: Running
    token: str

    @classmethod
    def of(cls, running: Running) -> Admin:
        """Wait until it listens, which is after the gateway does."""
        eventually(lambda: listens(running.admin_port), "the admin listener", 30)
        token = (running.directory / "run" / "admin.token").read_text().strip()
        return cls(running, token)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Make one request; `body` is sent as JSON, or, if it is bytes, as it is."""
        fields = dict(headers or {})
        if signed:
            fields.setdefault("Authorization", f"Bearer {self.token}")
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        if data is not None:
            fields.setdefault("Content-Type", "application/json")
        port = self.running.admin_port
        connection: http.client.HTTPConnection
        if tls is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=tls)
        try:
            connection.request(method, path, body=data, headers=fields)
            answer = connection.getresponse()
            listed = tuple((name.lower(), value) for name, value in answer.getheaders())
            return Answer(answer.status, listed, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return what is there below `/api/v2/admin`; fails unless the answer is 200."""
        return self.done("GET", path)

    def done(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """Ask below `/api/v2/admin`, and return the JSON that is answered with `status`."""
        answer = self.ask(method, f"/api/v2/admin{path}", body)
        assert answer.status == status, answer
        return json.loads(answer.body)

    def refused(self, method: str, path: str, body: object, status: int) -> str:
        """Ask below `/api/v2/admin`, and return the message of the error that is answered."""
        message: str = self.done(method, path, body, status)["error"]["message"]
        return message
