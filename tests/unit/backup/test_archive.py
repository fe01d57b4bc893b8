"""Archives: what is written can be read, by others too; what is not whole and ours is refused."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqsuper.backup.archive import Contents, Part
from sqsuper.backup.drafts import Draft
from sqsuper.backup.errors import (
    ArchiveError,
    ForbiddenMemberError,
    NotInBackupError,
    OverQuotaError,
)
from sqsuper.backup.names import fits
from sqsuper.backup.restoring import place, unpack, verify
from tests.unit.backup.support import (
    MADE,
    archived,
    contents,
    data,
    directory,
    forged,
    unzipped,
    zipped,
)


def drafts_in(root: Path, quota: int | None = None) -> Callable[[str], Draft]:
    return lambda name: Draft(name, root / name, quota, None)


def restored(archive: Path, root: Path) -> dict[str, bytes]:
    _, drafts = unpack(archive, drafts_in(root))
    place(list(drafts.items()), None)
    return contents(root)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    alice = data(tmp_path / "alice", notes="hello", empty="", **{"sägen ünd": "grüße"})
    (alice / "below").mkdir()
    (alice / "below" / "deep.phext").write_bytes(random.Random(1).randbytes(600_000))
    os.utime(alice / "notes.phext", (1e9, 1e9))
    bob = data(tmp_path / "bob")
    made = archived(tmp_path / "shelf", alice, bob)
    assert made.file.name == "all-20260102T030405Z.tar.gz"
    assert made.file.stat().st_mode & 0o777 == 0o600
    assert made.bytes == made.file.stat().st_size
    assert made.contents == Contents(MADE, (Part("alice", 4, 600_012), Part("bob", 0, 0)))
    assert verify(made.file) == made.contents
    root = tmp_path / "root"
    found = restored(made.file, root)
    assert found == {f"alice/{name}": text for name, text in contents(alice).items()}
    assert (root / "bob").is_dir()
    assert (root / "alice" / "notes.phext").stat().st_mtime == 1e9
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_tar_and_sha256sum_read_it(tmp_path: Path) -> None:
    long = "n" * 150
    alice = data(tmp_path / "alice", notes="hello", **{long: "long", "ü b": "blank"})
    made = archived(tmp_path / "shelf", alice)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xzf", made.file], cwd=out, check=True)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    assert contents(out / "alice") == contents(alice)


def test_what_lies_too_deep_is_left_out(tmp_path: Path) -> None:
    alice = data(tmp_path / "alice", notes="hello")
    deep = alice.joinpath(*["d"] * 17)
    deep.mkdir(parents=True)
    for inner in (deep, deep.parent, deep.parent.parent):
        (inner / "a.phext").write_text("deep")
    long = alice.joinpath(*["n" * 150] * 14)
    long.mkdir(parents=True)
    (long / "a.phext").write_text("far")
    made = archived(tmp_path / "shelf", alice)
    assert verify(made.file) == made.contents
    (part,) = made.contents.parts
    assert part.files == 2
    below = "/".join(["d"] * 16)
    assert part.left[:2] == (f"{below}/a.phext", f"{below}/d")
    assert len(part.left) == 3


def test_nothing_else_is_left_on_the_shelf(tmp_path: Path) -> None:
    alice = data(tmp_path / "alice", notes="hello")
    names = {archived(tmp_path / "shelf", alice).file.name for _ in range(3)}
    assert names == {f"all-20260102T030405Z{n}.tar.gz" for n in ("", "-2", "-3")}
    assert set(os.listdir(tmp_path / "shelf")) == names
    assert set(os.listdir(alice)) == {"notes.phext"}


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = archived(tmp_path / "shelf", data(tmp_path / "alice", notes="hello")).file
    plain = unzipped(whole)
    for length in range(0, len(plain) - 512, 256):
        with pytest.raises(ArchiveError):
            verify(zipped(tmp_path / "cut.tar.gz", plain[:length]))
    packed = whole.read_bytes()
    for length in range(0, len(packed), 7):
        (tmp_path / "cut.tar.gz").write_bytes(packed[:length])
        with pytest.raises(ArchiveError):
            verify(tmp_path / "cut.tar.gz")


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    whole = archived(tmp_path / "shelf", data(tmp_path / "alice", notes="hello")).file
    packed, plain = whole.read_bytes(), unzipped(whole)
    noticed = 0
    for at in range(10, len(packed), 3):
        changed = bytearray(packed)
        changed[at] ^= 1
        (tmp_path / "changed.tar.gz").write_bytes(changed)
        try:
            verify(tmp_path / "changed.tar.gz")
        except ArchiveError:
            noticed += 1
        else:
            # Zeros can be packed in more than one way.
            assert unzipped(tmp_path / "changed.tar.gz") == plain
    assert noticed > 0.3 * len(packed)


def test_the_file_that_was_changed_is_named(tmp_path: Path) -> None:
    alice = data(tmp_path / "alice", a="one", b="two", c="three")
    plain = unzipped(archived(tmp_path / "shelf", alice).file)
    at = plain.index(b"two")
    plain[at] ^= 1
    with pytest.raises(ArchiveError, match=r"alice/b\.phext is not what its checksum"):
        verify(zipped(tmp_path / "changed.tar.gz", plain))


def symbolic(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def hard(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.LNKTYPE, "alice/a.phext"


def fifo(info: tarfile.TarInfo) -> None:
    info.type = tarfile.FIFOTYPE


def device(info: tarfile.TarInfo) -> None:
    info.type, info.devmajor, info.devminor = tarfile.BLKTYPE, 8, 0


def character(info: tarfile.TarInfo) -> None:
    info.type = tarfile.CHRTYPE


@pytest.mark.parametrize("change", [symbolic, hard, fifo, device, character])
def test_no_links_and_no_devices(tmp_path: Path, change: Callable[[tarfile.TarInfo], None]) -> None:
    archive = forged(
        tmp_path / "a.tar.gz",
        [("alice", directory), ("alice/a.phext", b"a"), ("alice/b.phext", change)],
    )
    with pytest.raises(ForbiddenMemberError):
        unpack(archive, drafts_in(tmp_path / "root"))
    assert os.listdir(tmp_path / "root") == []


FORBIDDEN = [
    "../evil.phext",
    "/etc/evil.phext",
    "alice/../bob/evil.phext",
    "alice/../../evil.phext",
    "alice//evil.phext",
    "alice/./evil.phext",
    "alice/.hidden.phext",
    "alice/.journal-0000000100000001",
    "alice/.sqsuper-1-1.tmp",
    "alice/.phext/evil.phext",
    "alice/CON.phext",
    "alice/com1",
    "alice/lpt\u00b9.txt",
    "alice/nul.tar.phext",
    "alice/a\\b.phext",
    "alice/a\nb.phext",
    "alice/a\x7fb.phext",
    "alice/a\x85b.phext",
    "alice/a..b.phext",
    "alice/" + "n" * 201 + ".phext",
    "alice/" + "d/" * 17 + "deep.phext",
    "Alice/evil.phext",
    "evil.phext",
    "bob/evil.phext",
    "",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_names_that_no_phext_may_have(tmp_path: Path, name: str) -> None:
    archive = forged(tmp_path / "a.tar.gz", [("alice", directory), (name, b"evil")])
    with pytest.raises(ForbiddenMemberError):
        unpack(archive, drafts_in(tmp_path / "root"))
    assert list(tmp_path.rglob("*evil*")) == []


@pytest.mark.parametrize(
    "members",
    [
        [("alice/a.phext", b"a")],
        [("alice", b"a file")],
        [("alice", directory), ("alice/a.phext", b"a"), ("alice/a.phext", b"b")],
        [("alice", directory), ("alice", directory)],
        [("alice", directory), ("alice/below", directory)],
        [("alice", directory), ("bob", directory), ("alice/a.phext", b"a")],
    ],
)
def test_members_that_are_not_where_they_belong(tmp_path: Path, members: list[object]) -> None:
    archive = forged(tmp_path / "a.tar.gz", members)  # type: ignore[arg-type]
    with pytest.raises(ForbiddenMemberError):
        verify(archive)


def test_other_extensions_of_tar(tmp_path: Path) -> None:
    name = "alice/" + "n" * 150 + ".phext"
    archive = forged(
        tmp_path / "a.tar.gz", [("alice", directory), (name, b"a")], form=tarfile.GNU_FORMAT
    )
    with pytest.raises(ForbiddenMemberError):
        verify(archive)


def test_what_is_no_backup(tmp_path: Path) -> None:
    tar = forged(tmp_path / "a.tar.gz", [("alice", directory)], summed=False)
    text = tmp_path / "text.tar.gz"
    text.write_text("no archive at all")
    empty = tmp_path / "empty.tar.gz"
    empty.touch()
    newer = forged(tmp_path / "n.tar.gz", [], told={"format": 2})
    for file in (tar, text, empty, newer, tmp_path / "not-there", tmp_path):
        with pytest.raises(ArchiveError):
            verify(file)


def test_what_the_end_says_must_be_so(tmp_path: Path) -> None:
    told = {"format": 1, "made": MADE, "tenants": [], "missing": []}
    archive = forged(tmp_path / "a.tar.gz", [("alice", directory)], told=told)
    with pytest.raises(ArchiveError, match="its end"):
        verify(archive)


def test_an_enormous_extension_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, (8 << 30) - 1
    archive = zipped(tmp_path / "a.tar.gz", info.tobuf(tarfile.USTAR_FORMAT))
    with pytest.raises(ForbiddenMemberError):
        verify(archive)


@pytest.mark.parametrize("made", [10**400, float("inf"), float("nan")])
def test_when_it_was_made_is_a_time(tmp_path: Path, made: float) -> None:
    told = {"format": 1, "made": made, "tenants": [], "missing": []}
    archive = forged(tmp_path / "a.tar.gz", [], told=told)
    with pytest.raises(ArchiveError, match="its end"):
        verify(archive)


@pytest.mark.parametrize("mtime", [-1, 1 << 40, 1 << 80])
def test_a_file_is_of_a_time(tmp_path: Path, mtime: int) -> None:
    def timed(info: tarfile.TarInfo) -> None:
        info.mtime = mtime

    members = [("alice", directory), ("alice/a.phext", timed)]
    archive = forged(tmp_path / "a.tar.gz", members, form=tarfile.GNU_FORMAT)
    with pytest.raises(ForbiddenMemberError):
        unpack(archive, drafts_in(tmp_path / "root"))
    assert not (tmp_path / "root").exists() or os.listdir(tmp_path / "root") == []


@pytest.mark.parametrize("length", [b"9" * 5000, b"0", b"", b"99"])
def test_an_extension_with_a_wrong_length(tmp_path: Path, length: bytes) -> None:
    text = length + b" path=alice/a\n"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(text)
    content = info.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % tarfile.BLOCKSIZE)
    with pytest.raises(ArchiveError, match="length"):
        verify(zipped(tmp_path / "a.tar.gz", content))


def test_sizes_are_held_to_the_quota(tmp_path: Path) -> None:
    alice = data(tmp_path / "alice", a="x" * 600, b="x" * 600)
    archive = archived(tmp_path / "shelf", alice).file
    root = tmp_path / "root"
    with pytest.raises(OverQuotaError):
        unpack(archive, drafts_in(root, 1199))
    assert os.listdir(root) == []
    _, drafts = unpack(archive, drafts_in(root, 1200))
    drafts["alice"].discard()
    assert os.listdir(root) == []


def test_a_size_past_the_quota_is_refused_before_a_byte_of_it(tmp_path: Path) -> None:
    info = tarfile.TarInfo("alice/bomb.phext")
    info.size = 1 << 50
    head = tarfile.TarInfo("alice")
    head.type = tarfile.DIRTYPE
    archive = zipped(
        tmp_path / "a.tar.gz",
        head.tobuf(tarfile.PAX_FORMAT) + info.tobuf(tarfile.PAX_FORMAT) + bytes(1 << 20),
    )
    with pytest.raises(OverQuotaError):
        unpack(archive, drafts_in(tmp_path / "root", 1000))


def test_one_tenant_alone(tmp_path: Path) -> None:
    archive = archived(
        tmp_path / "shelf", data(tmp_path / "alice", a="1"), data(tmp_path / "bob", b="2")
    ).file
    root = tmp_path / "root"

    def draft(name: str) -> Draft | None:
        return Draft("carol", root / "carol", None, None) if name == "bob" else None

    _, drafts = unpack(archive, draft, "bob")
    done = place(list(drafts.items()), None)
    assert [(one.tenant, one.came_from) for one in done] == [("carol", "bob")]
    assert contents(root) == {"carol/b.phext": b"2"}
    with pytest.raises(NotInBackupError):
        unpack(archive, lambda _: None, "dave")


def test_what_is_damaged_leaves_nothing(tmp_path: Path) -> None:
    plain = unzipped(archived(tmp_path / "shelf", data(tmp_path / "alice", a="right")).file)
    plain[plain.index(b"right")] ^= 1
    with pytest.raises(ArchiveError):
        unpack(zipped(tmp_path / "c.tar.gz", plain), drafts_in(tmp_path / "root"))
    assert os.listdir(tmp_path / "root") == []


def test_progress_is_told(tmp_path: Path) -> None:
    steps: list[int] = []
    made = archived(tmp_path / "shelf", data(tmp_path / "alice", a="x" * 100_000))
    verify(made.file, steps.append)
    assert sum(steps) == made.bytes


NAMES = st.one_of(
    st.sampled_from([name.partition("/")[2] for name in FORBIDDEN if name.startswith("alice/")]),
    st.text(max_size=12).map(lambda text: text + ".phext"),
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=NAMES)
def test_nothing_is_ever_written_outside(tmp_path: Path, name: str) -> None:
    shutil.rmtree(tmp_path / "in", ignore_errors=True)
    root = tmp_path / "in" / "root"
    root.mkdir(parents=True)
    try:
        archive = forged(tmp_path / "a.tar.gz", [("alice", directory), (f"alice/{name}", b"text")])
    except (ValueError, UnicodeError):
        return  # tar itself cannot hold it
    try:
        found = restored(archive, root)
    except ArchiveError:
        found = {}
    assert set(found) <= {f"alice/{name}"}
    assert found == {} or all(fits(part) for part in name.split("/"))
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["root"]


def test_gzip_of_nothing_else_behind(tmp_path: Path) -> None:
    whole = archived(tmp_path / "shelf", data(tmp_path / "alice", a="1")).file
    content = whole.read_bytes()
    (tmp_path / "more.tar.gz").write_bytes(content + b"more")
    with pytest.raises(ArchiveError):
        verify(tmp_path / "more.tar.gz")
    assert gzip.decompress(content)
