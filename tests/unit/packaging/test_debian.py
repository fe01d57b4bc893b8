"""The Debian package agrees with the code: version, configuration, unit, licences."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from sqsuper import __version__
from sqsuper.config.load import load
from sqsuper.config.model import Config, Settings
from tests.running import ROOT

DEBIAN = ROOT / "debian"


def unit(kind: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEBIAN / f"sqsuper.{kind}").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def config(short_dir: Path) -> Config:
    """The package's own configuration, its directories moved to where they can be."""
    text = (DEBIAN / "etc/tenants.yaml").read_text()
    for directory in ("/var/lib/sqsuper", "/run/sqsuper"):
        assert directory in text
        text = text.replace(directory, f"{short_dir}{directory}")
    file = short_dir / "tenants.yaml"
    file.write_text(text)
    return load(file)


def test_the_version_is_one(sources: ModuleType) -> None:
    version, epoch = sources.changelog_entry()
    assert version == __version__
    assert 1_700_000_000 < epoch < 4_000_000_000
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: sqsuper.__version__"


def test_the_configuration_is_right_and_changes_no_default(config: Config, short_dir: Path) -> None:
    own = Config(
        file=short_dir / "tenants.yaml",
        data_root=short_dir / "var/lib/sqsuper",
        run_dir=short_dir / "run/sqsuper",
    )
    wanted = attrs.evolve(
        own,
        gateway=attrs.evolve(
            own.gateway,
            listen=("systemd:domain=INET:name=gateway",),
            access_log="/var/log/sqsuper/access.log",
        ),
        defaults=Settings(),
    )
    assert attrs.evolve(config, warnings=()) == wanted
    assert not re.search(r"[0-9a-f]{24}|pmb-v1-", config.file.read_text())


def test_the_unit_fits_the_configuration() -> None:
    service, listening = unit("service"), unit("socket")
    text = (DEBIAN / "etc/tenants.yaml").read_text()
    [name] = listening["FileDescriptorName"]
    assert f"systemd:domain=INET:name={name}" in text
    assert listening["ListenStream"] == [re.findall(r"127\.0\.0\.1:\d+", text)[0]]
    assert f"data_root: /var/lib/{service['StateDirectory'][0]} " in text
    assert f"run_dir: /run/{service['RuntimeDirectory'][0]} " in text
    assert f"/var/log/{service['LogsDirectory'][0]}/access.log" in text
    assert service["ExecStart"][0].endswith(" -n --pidfile= sqsuper -c /etc/sqsuper/tenants.yaml")
    assert service["ReadWritePaths"] == ["/etc/sqsuper/tenants.d"]
    longest = Settings().drain + Settings().stop_grace
    assert float(service["TimeoutStopSec"][0].removesuffix("s")) > longest
    assert (
        int(service["LimitNOFILE"][0]) > 2 * Config(Path(), Path(), Path()).gateway.max_connections
    )


def test_the_package_depends_on_what_the_wheel_requires() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    control = (DEBIAN / "control").read_text().partition("\nPackage: ")[2]
    names = {"attrs": "attr", "pyyaml": "yaml", "pyopenssl": "openssl"}
    requires = setup["options"]["install_requires"] + setup["options.extras_require"]["tls"]
    checked = 0
    for line in filter(None, requires.splitlines()):
        if ";" in line:
            continue
        name, _, least = line.replace(" ", "").partition(">=")
        debian = names.get(name.lower(), name.lower())
        assert f"python3-{debian} (>= {least})" in control, line
        checked += 1
    assert checked >= 10


def test_others_works_are_in_the_copyright_file() -> None:
    told = (DEBIAN / "copyright").read_text()
    vendor = ROOT / "sqsuper/admin/static/vendor"
    for directory in sorted(vendor.iterdir()) if vendor.is_dir() else []:
        name = directory.name.partition("-")[0]
        assert f"Files: sqsuper/admin/static/vendor/{name}-*\n" in told, name


def test_a_clean_copy_has_the_sources_alone_in_modes_of_its_own(
    sources: ModuleType, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    for name in ("a/b.py", "a/run", "build/x", "a/__pycache__/b.pyc", "sqsuper.egg-info/PKG-INFO"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
        (tree / name).chmod(0o600)
    (tree / "a/run").chmod(0o700)
    before = os.umask(0o077)
    try:
        copy = sources.clean_copy(tmp_path / "copy", tree)
    finally:
        os.umask(before)
    found = {
        str(file.relative_to(copy)): file.stat().st_mode & 0o777 for file in sorted(copy.rglob("*"))
    }
    assert found == {"a": 0o755, "a/b.py": 0o644, "a/run": 0o755}
