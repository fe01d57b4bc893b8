"""The configuration changes while the service runs: what changes with it, and what goes on."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import StartSqsuper
from tests.integration.test_main_job import digest
from tests.running import Running, eventually, free_port, listens, start

SELECT = "/api/v2/select?p=p&c=1.1.1/1.1.1/1.1.1"
UPDATE = "/api/v2/update?p=p&c=1.1.1/1.1.1/1.1.1"
PATIENCE = 30.0


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"token_sha256": [digest(name)], **more}


class Reloaded:
    """A sqsuper whose file is written anew, as a whole."""

    def __init__(self, running: Running, config: dict[str, Any]) -> None:
        self.running = running
        self.config = config
        self.file = running.directory / "tenants.yaml"
        self.text = self.file.read_text()
        self.listen = yaml.safe_load(self.text)["gateway"]["listen"]
        self.admin = yaml.safe_load(self.text)["admin"]

    def write(self, text: str) -> None:
        part = self.file.with_name("part")
        part.touch(mode=0o600)
        part.write_text(text)
        os.replace(part, self.file)

    def reload(self, expected: str = "applied", **changes: Any) -> str:
        """Write what `changes`, send SIGHUP, and return the log from there when it is done."""
        self.config = {**self.config, **changes}
        gateway = {"listen": self.listen, **self.config.get("gateway", {})}
        admin = {**self.admin, **self.config.get("admin", {})}
        self.write(yaml.safe_dump({**self.config, "gateway": gateway, "admin": admin}))
        return self.hang_up(expected)

    def hang_up(self, expected: str = "applied") -> str:
        start = len(self.running.output)
        os.kill(self.running.pid, signal.SIGHUP)
        return self.log(start, expected)

    def log(self, start: int, expected: str) -> str:
        """Wait until a reload ended as `expected`: applied, unchanged or refused."""
        mark = {
            "applied": "): tenants: ",
            "unchanged": "): nothing changes",
            "refused": ") refused: ",
        }[expected]

        def done() -> str:
            found = self.running.output[start:]
            return found if "reload (" in found and mark in found else ""

        return eventually(done, f"a reload that is {expected}", PATIENCE)

    def status(self, name: str, target: str = SELECT, method: str = "GET", **more: Any) -> int:
        return self.running.request(method, target, token=name, **more).status

    def pids(self) -> dict[str, int]:
        """The tenants' processes, by the name of the directory that each works in."""
        found = {Path(child.cwd()): child.pid for child in self.running.children()}
        return {where.name: pid for where, pid in found.items() if where.parent.name == "data"}


@pytest.fixture
def reloaded(sqsuper_process: StartSqsuper) -> Callable[..., Reloaded]:
    def begin(**config: Any) -> Reloaded:
        config.setdefault("admin", {"listen": ["tcp:0:interface=127.0.0.1"]})
        return Reloaded(sqsuper_process(config), config)

    return begin


class TestTenants:
    def test_only_who_changed_is_touched(self, reloaded: Callable[..., Reloaded]) -> None:
        names = ["alice", "bob", "carol", "dave"]
        eager = {"start": "eager", "stop_grace": "2s"}
        one = reloaded(defaults=eager, tenants={name: entry(name) for name in names})
        for name in names:
            assert one.status(name, UPDATE, "POST", body=name.encode()) == 200
        before = one.pids()
        kept = http.client.HTTPConnection("127.0.0.1", one.running.port)
        fields = {"Authorization": "Bearer alice"}
        kept.request("GET", SELECT, headers=fields)
        assert kept.getresponse().read() == b"alice"
        sock = kept.sock
        log = one.reload(
            tenants={
                "alice": entry("alice", limits={"threads": 63}, quota_mb=1),
                "bob": entry("bob", environment={"A": "b"}),
                "dave": entry("other"),
                "erin": entry("erin"),
            }
        )
        assert "1 added, 1 removed, 1 restarted, 2 adjusted, 0 unchanged" in log
        # At once: nobody is let in by a token that is gone, and who is new is there.
        assert [one.status(name) for name in ("carol", "dave", "other", "erin")] == [
            *(401, 401, 200, 200)
        ]
        assert one.status("bob") == 200
        wanted = {"alice", "bob", "dave", "erin"}
        eventually(lambda: one.pids().keys() == wanted, "the right processes run", PATIENCE)
        after = one.pids()
        assert (after["alice"], after["dave"]) == (before["alice"], before["dave"])
        assert after["bob"] != before["bob"]
        kept.request("GET", SELECT, headers=fields)
        assert kept.getresponse().read() == b"alice"
        assert kept.sock is sock
        # Another quota holds in the process that went on.
        big = b"x" * 1_200_000
        assert one.status("alice", UPDATE, "POST", body=big) == 507
        assert one.status("other", UPDATE, "POST", body=big) == 200
        # A tenant that comes back has its directory, and what is in it.
        one.reload(tenants={"carol": entry("carol"), "alice": entry("alice")})
        assert one.running.request("GET", SELECT, token="carol").body == b"carol"
        kept.close()

    def test_ports_are_swapped_and_move(
        self, reloaded: Callable[..., Reloaded], free_ports: Callable[[int], list[int]]
    ) -> None:
        first, second, third = free_ports(3)
        one = reloaded(
            tenants={
                "alice": entry("alice", port=first, start="eager"),
                "bob": entry("bob", port=second),
                "carol": entry("carol", start="eager"),
            }
        )
        assert one.status("alice", UPDATE, "POST", body=b"alice") == 200
        one.reload(
            tenants={
                "alice": entry("alice", port=second, start="eager"),
                "bob": entry("bob", port=first),
                "carol": entry("carol", port=third, start="eager"),
            }
        )

        def at(port: int, name: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            try:
                fields = {"Authorization": f"Bearer {name}"}
                connection.request("GET", SELECT, headers=fields)
                return connection.getresponse().status
            except OSError:
                return 0
            finally:
                connection.close()

        def serves(port: int, name: str) -> bool:
            return at(port, name) == 200

        for port, name in ((second, "alice"), (first, "bob"), (third, "carol")):
            eventually(partial(serves, port, name), name, PATIENCE)
        assert at(first, "alice") == 401
        # A port goes to a tenant that is new as soon as its owner is gone.
        one.reload(tenants={"dave": entry("dave", port=second)})
        eventually(lambda: at(second, "dave") == 200, "dave", PATIENCE)
        eventually(lambda: not listens(first) and not listens(third), "given back", PATIENCE)

    def test_a_token_is_revoked_at_the_tenants_own_port_and_in_an_open_exchange(
        self, reloaded: Callable[..., Reloaded], free_ports: Callable[[int], list[int]]
    ) -> None:
        (port,) = free_ports(1)
        one = reloaded(tenants={"alice": entry("alice", port=port, start="eager")})
        own = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        fields = {"Authorization": "Bearer alice"}
        own.request("GET", SELECT, headers=fields)
        answer = own.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        pids = one.pids()
        with socket.create_connection(("127.0.0.1", one.running.port), PATIENCE) as under_way:
            under_way.sendall(
                f"POST {UPDATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n"
                "Content-Length: 100\r\n\r\nhalf".encode()
            )
            eventually(lambda: one.status("alice") == 200, "both are there", PATIENCE)
            one.reload(tenants={"alice": entry("new", port=port, start="eager")})
            with contextlib.suppress(ConnectionResetError):
                assert under_way.recv(100) == b""
        own.request("GET", SELECT, headers=fields)
        answer = own.getresponse()
        assert answer.status == 401
        own.close()
        assert one.status("new") == 200
        assert one.pids() == pids


class TestRefused:
    def test_a_broken_file_changes_nothing_and_is_told_of(
        self, reloaded: Callable[..., Reloaded]
    ) -> None:
        one = reloaded(tenants={"alice": entry("alice")})
        start = len(one.running.output)
        one.write("tenants:\n  alice: {}\n  bob:\n    nonsense: 1\n")
        log = one.log(start, "refused")
        assert f"reload (a changed file) refused: {one.file}:4: tenants.bob.nonsense: " in log
        assert one.status("alice") == 200
        one.write("")
        assert "is empty" in one.hang_up("refused")
        assert one.status("alice") == 200
        start = len(one.running.output)
        one.write(one.text)
        one.log(start, "unchanged")

    def test_an_endpoint_that_cannot_be_bound_refuses_all_of_it(
        self, reloaded: Callable[..., Reloaded], free_ports: Callable[[int], list[int]]
    ) -> None:
        (free,) = free_ports(1)
        one = reloaded(tenants={"alice": entry("alice")})
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            log = one.reload(
                "refused",
                gateway={"listen": [f"tcp:{n}:interface=127.0.0.1" for n in (free, port)]},
                tenants={"bob": entry("bob")},
            )
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in log
        assert not listens(free)
        assert [one.status("alice"), one.status("bob")] == [200, 401]


class TestTheGateway:
    def test_other_endpoints_and_limits(
        self, reloaded: Callable[..., Reloaded], free_ports: Callable[[int], list[int]]
    ) -> None:
        first, second = free_ports(2)
        old = f"tcp:{first}:interface=127.0.0.1"
        one = reloaded(tenants={"alice": entry("alice")})
        fields = {"Authorization": "Bearer alice"}
        kept = http.client.HTTPConnection("127.0.0.1", one.running.port)
        one.reload(gateway={"listen": [*one.listen, old]})
        going = http.client.HTTPConnection("127.0.0.1", first)
        for client in (going, kept):
            client.request("GET", SELECT, headers=fields)
            assert client.getresponse().read() == b""
        new = f"tcp:{second}:interface=127.0.0.1"
        one.reload(gateway={"listen": [*one.listen, new], "max_body_bytes": 10})
        assert listens(second)
        assert not listens(first)
        for client, connection in ((going, "close"), (kept, None)):
            client.request("GET", SELECT, headers=fields)
            answer = client.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, connection)
            answer.read()
        kept.request("POST", UPDATE, b"x" * 11, headers=fields)
        assert kept.getresponse().status == 413
        # All addresses instead of one: that port is taken over.
        one.reload(gateway={"listen": [*one.listen, f"tcp:{second}"], "max_body_bytes": 100})
        assert listens(second)
        assert one.status("alice", UPDATE, "POST", body=b"x" * 11) == 200
        for client in (going, kept):
            client.close()


class TestWorkers:
    def test_they_go_over_too(
        self, reloaded: Callable[..., Reloaded], free_ports: Callable[[int], list[int]]
    ) -> None:
        first, second = free_ports(2)
        one = reloaded(
            gateway={"workers": 2},
            tenants={"alice": entry("alice"), "bob": entry("bob"), "carol": entry("carol")},
        )
        for name in ("alice", "bob", "carol"):
            assert one.status(name) == 200
        pids = one.pids()
        old = f"tcp:{first}:interface=127.0.0.1"
        one.reload(
            gateway={"workers": 2, "listen": [*one.listen, old], "max_body_bytes": 10},
            tenants={"alice": entry("new"), "bob": entry("bob"), "dave": entry("dave")},
        )

        def at(port: int, name: str, size: int = 0) -> tuple[int, str | None]:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            fields = {"Authorization": f"Bearer {name}"}
            client.request("POST", UPDATE, b"x" * size, headers=fields)
            answer = client.getresponse()
            client.close()
            return answer.status, answer.getheader("Connection")

        def settled(wanted: dict[str, int]) -> bool:
            # Either worker may take a connection.
            return all(at(first, name)[0] == wanted[name] for name in [*wanted] * 8)

        wanted = {"alice": 401, "new": 200, "carol": 401, "dave": 200, "bob": 200}
        eventually(lambda: settled(wanted), "both have gone over", PATIENCE)
        assert {at(first, "new", 11)[0] for _ in range(8)} == {413}
        assert one.pids()["alice"] == pids["alice"]
        kept = [http.client.HTTPConnection("127.0.0.1", first) for _ in range(4)]
        for client in kept:
            client.request("GET", SELECT, headers={"Authorization": "Bearer bob"})
            assert client.getresponse().read() == b""
        # All addresses instead of one.
        one.reload(gateway={"workers": 2, "listen": [*one.listen, f"tcp:{first}", f"tcp:{second}"]})
        eventually(lambda: at(second, "bob") == (200, None), "the new one serves", PATIENCE)
        assert at(first, "new", 11)[0] == 200
        for client in kept:
            client.request("GET", SELECT, headers={"Authorization": "Bearer bob"})
            answer = client.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close")
            client.close()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            log = one.reload("refused", gateway={"workers": 2, "listen": [*one.listen, endpoint]})
        assert "Address already in use" in log
        assert at(second, "bob")[0] == 200


class TestIncluded:
    def test_a_file_that_comes_is_noticed(self, reloaded: Callable[..., Reloaded]) -> None:
        one = reloaded(tenants={"alice": entry("alice")})
        directory = one.running.directory / "tenants.d"
        directory.mkdir(mode=0o700)
        (directory / "bob.yaml").write_text(yaml.safe_dump({"tenants": {"bob": entry("bob")}}))
        eventually(lambda: one.status("bob") == 200, "bob is served", PATIENCE)
        assert one.status("alice") == 200


class TestTheTerminal:
    def test_when_it_is_gone_the_service_stops_and_a_signal_alone_reloads(
        self, short_dir: Path
    ) -> None:
        master, slave = os.openpty()
        name = os.ttyname(slave)

        def take_terminal() -> None:
            os.setsid()
            os.open(name, os.O_RDWR)

        port = free_port()
        file = short_dir / "tenants.yaml"
        file.touch(mode=0o600)
        listen = [f"tcp:{port}:interface=127.0.0.1"]
        admin = {"listen": ["tcp:0:interface=127.0.0.1"]}
        file.write_text(yaml.safe_dump({"gateway": {"listen": listen}, "admin": admin}))
        running = start(short_dir, file, port, preexec_fn=take_terminal)
        try:
            os.close(slave)
            eventually(running.healthy, "it serves", PATIENCE)
            os.kill(running.pid, signal.SIGHUP)
            eventually(lambda: "nothing changes" in running.output, "it has reloaded", PATIENCE)
            os.close(master)
            assert running.process.wait(PATIENCE) == 0
        finally:
            running.close()
