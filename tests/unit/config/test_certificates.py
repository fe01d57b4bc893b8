"""`ssl:` endpoints of the gateway: checked with their files before anything is bound."""

from __future__ import annotations

import select
from collections.abc import Callable
from pathlib import Path

import pytest

from sqsuper.config.certificates import check_gateway_endpoint
from sqsuper.config.endpoints import take_apart
from sqsuper.config.errors import ConfigError
from sqsuper.config.model import Config
from tests.tls_support import make
from tests.unit.config.conftest import Write

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a.key, a.crt, b.key, b.crt and both.pem."""
    directory = tmp_path_factory.mktemp("tls")
    made = make(directory, "a")
    make(directory, "b")
    both = directory / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    return directory


@pytest.mark.parametrize(
    "text",
    [
        "ssl:8443:privateKey=a.key:certKey=a.crt",
        "ssl:8443:a.key:a.crt",
        "ssl:port=0:certKey=a.crt:privateKey=a.key:interface=127.0.0.1:backlog=9",
        r"ssl:8443:a.key:a.crt:interface=\:\:1",
        "ssl:8443:privateKey=both.pem",
        "ssl:8443:privateKey=a.key:certKey=a.crt:extraCertChain=b.crt",
    ],
)
def test_taken(there: Path, text: str) -> None:
    check_gateway_endpoint(take_apart(text, there))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ssl:8443:a.key:b.crt", "does not belong to the certificate"),
        ("ssl:8443:a.key:none.crt", "No such file or directory: .*none.crt"),
        ("ssl:8443:none.key:a.crt", "No such file or directory: .*none.key"),
        ("ssl:8443:a.crt:a.crt", r"no private key \(PEM\) in it: .*a.crt"),
        ("ssl:8443:a.key", r"no certificate \(PEM\) in it: .*a.key"),
        ("ssl:8443:a.key:a.crt:extraCertChain=none", "No such file or directory: .*none"),
        ("ssl:8443:a.key:a.crt:extraCertChain=b.key", "no certificate"),
        ("ssl:8443:a.key:a.crt:dhParameters=x", "without dhParameters, as only ECDHE"),
        ("ssl:8443:a.key:a.crt:sslmethod=TLSv1_METHOD", "without sslmethod"),
        ("ssl:8443:a.key:a.crt:nonsense=1", "arguments are among"),
        ("ssl:8443:a.key:a.crt:SSLv23_METHOD", "arguments are among"),
        ("ssl:8443:a.key:a.crt:backlog=x", "Twisted takes"),
        ("haproxy:ssl:8443:a.key:a.crt", "without wrappers"),
    ],
)
def test_refused(there: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^an endpoint .*{told}"):
        check_gateway_endpoint(take_apart(text, there))


def test_refused_without_epoll(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(ValueError, match="lacks epoll"):
        check_gateway_endpoint(take_apart("ssl:8443:a.key:a.crt", there))
    check_gateway_endpoint(take_apart("tcp:8443", there))


def listen(there: Path, *texts: str) -> str:
    quoted = ", ".join(
        '"' + text.replace("key", f"{there}/a.key").replace("crt", f"{there}/a.crt") + '"'
        for text in texts
    )
    return f"[{quoted}]"


def test_certificates_of_one_port(
    there: Path, write: Write, refused: Callable[..., ConfigError]
) -> None:
    from sqsuper.config.load import load

    several = listen(there, "ssl:8443:key:crt", "ssl:8443:key:crt", "ssl:8444:key:crt")
    config: Config = load(write("t.yaml", f"gateway: {{listen: {several}}}\n"))
    assert len(config.gateway.listen) == 3
    for clash in (
        listen(there, "ssl:8443:key:crt", "tcp:8443"),
        listen(there, "ssl:8443:key:crt", "ssl:8443:key:crt:interface=127.0.0.1"),
    ):
        error = refused(f"gateway: {{listen: {clash}}}\n")
        assert "8443 is already gateway.listen[0]'s" in str(error)
    one = listen(there, "ssl:8443:key:crt")
    error = refused(f"gateway: {{listen: {one}}}\nadmin: {{listen: {one}}}\n")
    assert "admin.listen[0]: 8443 is already gateway.listen[0]'s" in str(error)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, True)])
def test_a_key_that_others_can_read(tmp_path: Path, write: Write, mode: int, warned: bool) -> None:
    from sqsuper.config.load import load

    made = make(tmp_path)
    made.key.chmod(mode)
    config = load(write("t.yaml", f'gateway: {{listen: ["{made.endpoint(8443)}"]}}\n'))
    lines = [line for line in config.warnings if "private key" in line]
    assert len(lines) == warned
    assert all(f"{made.key} can be read by others" in line for line in lines)
