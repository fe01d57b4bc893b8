"""Clients that are called from Python, each as an `Ask` of the sequence."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from tests.integration.clients.sequence import Ask, Asked, Reply

TIMEOUT = 60


def lower(fields: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in fields.items()}


@contextmanager
def requests_session() -> Iterator[Ask]:
    import requests
    from requests.adapters import HTTPAdapter

    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=8))

        def ask(asked: Asked) -> Reply:
            with session.request(
                asked.method,
                asked.url,
                params=asked.query,
                data=asked.content,
                headers=asked.fields,
                timeout=TIMEOUT,
                stream=True,
            ) as answer:
                content = b"".join(answer.iter_content(65_536))
                return Reply(answer.status_code, lower(answer.headers), content)

        yield ask


@contextmanager
def httpx_client() -> Iterator[Ask]:
    import httpx

    with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:

        def ask(asked: Asked) -> Reply:
            with client.stream(
                asked.method,
                asked.url,
                params=asked.query,
                content=asked.content,
                headers=asked.fields,
            ) as answer:
                content = b"".join(answer.iter_bytes())
                return Reply(answer.status_code, lower(answer.headers), content)

        yield ask


@contextmanager
def aiohttp_session() -> Iterator[Ask]:
    import aiohttp

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(TIMEOUT)

    async def new_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))

    async def pieces(body: list[bytes]) -> AsyncIterator[bytes]:
        for piece in body:
            yield piece

    session = there(new_session())

    async def request(asked: Asked) -> Reply:
        async with session.request(
            asked.method,
            asked.url,
            params=asked.query,
            data=pieces(asked.body) if isinstance(asked.body, list) else asked.body,
            headers=asked.fields,
            expect100=asked.expect,
        ) as answer:
            content = b"".join([piece async for piece in answer.content.iter_any()])
            return Reply(answer.status, lower(answer.headers), content)

    try:
        yield lambda asked: there(request(asked))
        there(session.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT)
        loop.close()


class Curl:
    """The program, run once a request."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory

    def __call__(self, asked: Asked) -> Reply:
        with TemporaryDirectory(dir=self._directory) as temporary:
            out, head, data = (Path(temporary) / name for name in ("out", "head", "data"))
            arguments = ["-o", str(out), "-D", str(head)]
            arguments += ["-I"] if asked.method == "HEAD" else ["-X", asked.method]
            fields = dict(asked.fields)
            if asked.body is not None:
                arguments += ["--data-binary", f"@{data}"]
                # It would expect it of itself, of a large body.
                fields["Expect"] = "100-continue" if asked.expect else ""
                if isinstance(asked.body, bytes):
                    data.write_bytes(asked.body)
                else:
                    data.write_bytes(b"".join(asked.body))
                    fields["Transfer-Encoding"] = "chunked"
            for name, value in fields.items():
                arguments += ["-H", f"{name}: {value}".rstrip()]
            self.run(*arguments, f"{asked.url}?{urlencode(asked.query)}")
            # Behind heads of interim answers.
            last = head.read_bytes().decode("latin-1").strip().split("\r\n\r\n")[-1]
            first, *lines = last.split("\r\n")
            found = dict(line.split(": ", 1) for line in lines)
            content = out.read_bytes() if asked.method != "HEAD" and out.exists() else b""
            return Reply(int(first.split()[1]), lower(found), content)

    def run(self, *arguments: str) -> str:
        """Run it; return what it printed."""
        done = subprocess.run(
            [self._program, "-q", "-sS", "--noproxy", "*", f"-m{TIMEOUT}", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
