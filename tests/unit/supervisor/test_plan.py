"""What is run for a tenant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from sqsuper.config.model import Checkpoint, Coordinates, Gateway, Launcher, Limits
from sqsuper.engine import options as command_line
from sqsuper.supervisor import plan
from tests.unit.supervisor.support import command_tenant, config, settings, tenant

HERE = Path("/srv/sq")
MARKER = "5" * 32


def after_dashes(argv: tuple[str, ...]) -> list[str]:
    return list(argv[argv.index("--") + 1 :])


def options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        found.setdefault(name, []).append(value)
    return found


def test_the_embedded_engines_arguments() -> None:
    one = tenant(
        HERE,
        settings=settings(
            coordinates=Coordinates.LENIENT,
            max_phext_mb=7,
            quota_mb=8,
            max_loaded=9,
            checkpoint=Checkpoint(0.5, 45, 123456),
        ),
    )
    gateway = Gateway(max_head_bytes=1000, max_body_bytes=2000)
    made = plan.embedded(config(HERE, one, gateway=gateway), one, MARKER)
    words = after_dashes(made.argv)
    assert words[0] == "host"
    assert options(words[1:]) == {
        "--data-dir": ["/srv/sq/data/alice"],
        "--name": ["alice"],
        "--listen-fd": ["5"],
        "--control-fd": ["3"],
        "--report-fd": ["4"],
        "--coordinates": ["lenient"],
        "--max-head-bytes": ["1000"],
        "--max-body-bytes": ["2000"],
        "--max-phext-mb": ["7"],
        "--quota-mb": ["8"],
        "--max-loaded": ["9"],
        "--checkpoint-idle": ["0.5"],
        "--checkpoint-age": ["45"],
        "--checkpoint-journal": ["123456"],
        "--stop-seconds": ["1.5"],
    }
    assert made.argv[:3] == (sys.executable, "-I", "-S")
    assert not made.forks


def test_a_port_is_a_second_socket_and_no_quota_no_argument() -> None:
    one = tenant(HERE, port=7001, settings=settings(quota_mb=None))
    words = after_dashes(plan.embedded(config(HERE, one), one, MARKER).argv)
    found = options(words[1:])
    assert found["--listen-fd"] == ["5", "6"]
    assert "--quota-mb" not in found


def test_a_tenants_port_keeps_the_gateways_limits() -> None:
    one = tenant(HERE, port=7001)
    gateway = Gateway(
        head_timeout=3.0,
        idle_timeout=6.5,
        body_timeout=2.0,
        body_rate=0,
        send_timeout=None,
        wrong_tokens_per_minute=7,
        max_connections=100,
    )
    words = after_dashes(plan.embedded(config(HERE, one, gateway=gateway), one, MARKER).argv)
    given = command_line.parse(words[1:])
    assert given.head_timeout == 3.0
    assert given.idle_timeout == 6.5
    assert given.body_timeout == 2.0
    assert given.body_rate == 0
    assert given.send_timeout is None
    assert given.wrong_tokens_per_minute == 7
    assert (given.max_connections, given.max_connections_per_address) == (100, 25)


def test_the_embedded_engine_imports_from_the_given_directories() -> None:
    script = "import sys; sys.path.extend(sys.argv[1:]); import xxhash, sqsuper"
    words = [sys.executable, "-I", "-S", "-c", script, *plan.engine_paths()]
    assert subprocess.run(words, check=False).returncode == 0


def test_placeholders_are_filled_once() -> None:
    values = {"port": "1", "key": "{name}", "data_dir": "/d/{port}", "name": "alice"}
    assert plan.fill("{port}:{key}", values) == "1:{name}"
    assert plan.fill("{data_dir}", values) == "/d/{port}"
    assert plan.fill("{{port}} {other} {} {", values) == "{1} {other} {} {"


def test_a_commands_arguments() -> None:
    one = command_tenant(
        HERE, "sq", "host", "{port}", "--key={key}", "--data-dir", "{data_dir}", "{name}"
    )
    made = plan.command(config(HERE, one), one, marker=MARKER, key="k3y", port=4711)
    assert after_dashes(made.argv) == [
        "sq", "host", "4711", "--key=k3y", "--data-dir", "/srv/sq/data/alice", "alice",
    ]  # fmt: skip
    assert made.forks


@pytest.mark.parametrize(
    ("word", "program"),
    [("./bin/sq", "/srv/sq/bin/sq"), ("/opt/sq", "/opt/sq"), ("sq", "sq")],
)
def test_a_program_by_relative_path_is_the_configurations(word: str, program: str) -> None:
    one = command_tenant(HERE, word)
    made = plan.command(config(HERE, one), one, marker=MARKER, key="k", port=1)
    assert after_dashes(made.argv) == [program]


def test_no_tenants_directory_is_looked_into_for_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = command_tenant(tmp_path, str(tmp_path / "link"))
    others = [tenant(tmp_path, name) for name in ("bob", "bobby", "carol", "dave")]
    for other in others:
        other.data_dir.mkdir(parents=True)
    (tmp_path / "link").symlink_to(others[2].data_dir / "sq")
    monkeypatch.setenv("PATH", f"/usr/bin:{others[0].data_dir}")
    wanted = config(tmp_path, one, *others)
    made = plan.command(
        wanted, one, marker=MARKER, key="k", port=1, never_from=plan.data_dirs(wanted)
    )
    words = made.argv[: made.argv.index("--")]
    avoided = [words[n + 1] for n, word in enumerate(words) if word == "--avoid"]
    assert avoided == [str(others[2].data_dir), str(others[0].data_dir)]


def test_the_environment_is_ours_alone() -> None:
    one = tenant(HERE, settings=settings(environment=(("EXTRA", "1"), ("LANG", "de_DE.UTF-8"))))
    inherited = {"PATH": "/bin", "LANG": "C.UTF-8", "TZ": "UTC", "SECRET": "x", "HOME": "/root"}
    assert plan.environment(one, MARKER, inherited) == {
        "PATH": "/bin",
        "LANG": "de_DE.UTF-8",
        "TZ": "UTC",
        "HOME": "/srv/sq/data/alice",
        "EXTRA": "1",
        "SQSUPER_INSTANCE": MARKER,
    }
    bare = plan.environment(one, MARKER, {})
    assert bare["PATH"]
    assert "TZ" not in bare


def test_limits_and_user_are_for_the_child() -> None:
    limits = Limits(open_files=99, nice=3, memory_hard=1000)
    one = tenant(HERE, settings=settings(limits=limits, user="nobody"))
    argv = plan.embedded(config(HERE, one), one, MARKER).argv
    before = list(argv[: argv.index("--")])
    for pair in (
        ["--open-files", "99"],
        ["--nice", "3"],
        ["--user", "nobody"],
        ["--address-space", str(2000 + 512 * 1024 * 1024)],
    ):
        at = before.index(pair[0])
        assert before[at : at + 2] == pair


def test_address_space_is_limited_for_the_engine_alone_that_maps_no_more_than_it_uses() -> None:
    unlimited = tenant(HERE, settings=settings(limits=Limits(memory_hard=None)))
    assert "--address-space" not in plan.embedded(config(HERE, unlimited), unlimited, MARKER).argv
    one = command_tenant(HERE, "sq", "{key}")
    made = plan.plan_for(config(HERE, one), one, marker=MARKER, key="s3cret", port=1)
    assert "--address-space" not in made.argv


def test_no_secret_shows_in_a_repr_and_none_in_the_engines_arguments() -> None:
    one = command_tenant(HERE, "sq", "{key}")
    made = plan.plan_for(config(HERE, one), one, marker=MARKER, key="s3cret", port=1)
    assert "s3cret" not in repr(made)
    assert MARKER not in repr(made)
    two = attrs.evolve(one, settings=settings())
    made = plan.plan_for(config(HERE, two), two, marker=MARKER, key="s3cret", port=1)
    assert not any("s3cret" in word for word in (*made.argv, *made.environment.values()))


def test_only_an_embedded_engine_that_is_not_to_be_spawned_may_be_preloaded() -> None:
    for launcher, may in ((Launcher.AUTO, True), (Launcher.ZYGOTE, True), (Launcher.SPAWN, False)):
        one = tenant(HERE, settings=settings(launcher=launcher))
        found = plan.embedded(config(HERE, one), one, MARKER)
        assert found.preloaded is plan.may_preload(one) is may
        assert found.words == found.argv[4:]
        assert found.words[0] == "--parent"
    other = command_tenant(HERE, "sq", launcher=Launcher.ZYGOTE)
    made = plan.command(config(HERE, other), other, marker=MARKER, key="k", port=1)
    assert not made.preloaded
