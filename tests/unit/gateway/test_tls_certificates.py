"""Which certificate a client gets, and what becomes of files that change."""

from __future__ import annotations

import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from sqsuper.config.certificates import CertificateError, CertificateFiles
from sqsuper.gateway.certificate_names import names_of
from sqsuper.gateway.certificates import Certificates
from tests.tls_support import Made, make


def files(made: Made, chain: Path | None = None) -> CertificateFiles:
    return CertificateFiles(str(made.key), str(made.certificate), str(chain) if chain else None)


def shown(
    certificates: Certificates, name: str | None = None, client: ssl.SSLContext | None = None
) -> bytes:
    """Make a connection in memory; return the certificate (DER) that the client is shown."""
    context = client or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if client is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(a, b, server_hostname=name)
    theirs = certificates.current().wrap_bio(b, a, server_side=True)
    for _ in range(3):
        for side in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return ours.getpeercert(binary_form=True) or b""


def der(made: Made) -> bytes:
    return ssl.PEM_cert_to_DER_cert(made.certificate.read_text())


# Names

MANY = tuple(f"n{number}.example" for number in range(300))


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
@pytest.mark.parametrize(
    ("names", "common", "found"),
    [
        (("a.example", "*.B.example"), "c.example", ("a.example", "*.b.example")),
        (("a.example",) * 2, "a.example", ("a.example",)),
        (MANY, "x", MANY),
        ((), "C.example", ("c.example",)),
    ],
)  # fmt: skip
def test_names(
    tmp_path: Path, kind: str, names: tuple[str, ...], common: str, found: tuple[str, ...]
) -> None:
    assert names_of(der(make(tmp_path, names=names, kind=kind, common_name=common))) == found


def test_names_of_a_broken_certificate(tmp_path: Path) -> None:
    whole = der(make(tmp_path))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r".+"):
            names_of(whole[:length])


def test_names_of_noise(tmp_path: Path) -> None:
    whole = der(make(tmp_path))
    for index in range(0, len(whole), 3):
        for value in (0x00, 0x30, 0x84, 0xFF):
            broken = whole[:index] + bytes([value]) + whole[index + 1 :]
            try:
                names = names_of(broken)
            except ValueError:
                continue
            assert all(isinstance(name, str) for name in names)


# Choosing


def test_a_client_gets_the_certificate_of_the_name_it_asks_for(tmp_path: Path) -> None:
    first = make(tmp_path, "1", ("a.example",))
    second = make(tmp_path, "2", ("b.example", "*.c.example"), kind="rsa")
    third = make(tmp_path, "3", ("b.example", "x.c.example"))
    certificates = Certificates(map(files, (first, second, third)))
    for name, made in {
        None: first,
        "a.example": first,
        "A.Example": first,
        "b.example": second,
        "y.c.example": second,
        "x.c.example": third,
        "c.example": first,
        "z.y.c.example": first,
        "nobody.example": first,
        "localhost": first,
    }.items():
        assert shown(certificates, name) == der(made), name


def test_the_chain_is_sent(tmp_path: Path) -> None:
    root = make(tmp_path, "root", names=(), common_name="root")
    middle_key = make(tmp_path, "other", names=(), common_name="other")
    leaf = make(tmp_path, "leaf", ("a.example",), authority=root)
    certificates = Certificates([files(leaf, middle_key.certificate)])
    client = ssl.create_default_context(cafile=str(root.certificate))
    client.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    assert shown(certificates, "a.example", client) == der(leaf)


def test_certificate_and_key_in_one_file(tmp_path: Path) -> None:
    made = make(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(made.key.read_bytes() + made.certificate.read_bytes())
    assert shown(Certificates([CertificateFiles(str(both), str(both))])) == der(made)


def test_what_is_spoken(tmp_path: Path) -> None:
    context = Certificates([files(make(tmp_path, kind="rsa"))]).current()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 1
    assert not context.options & ssl.OP_NO_TICKET
    old = [c for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert old
    assert all(c["name"].startswith("ECDHE-") and c["aead"] for c in old)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
def test_alpn_is_offered_and_never_required(
    tmp_path: Path, offered: list[str], chosen: str | None
) -> None:
    certificates = Certificates(
        [files(make(tmp_path, "1", ("a.example",))), files(make(tmp_path, "2", ("b.example",)))]
    )
    for name in ("a.example", "b.example"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if offered:
            context.set_alpn_protocols(offered)
        a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = context.wrap_bio(a, b, server_hostname=name)
        theirs = certificates.current().wrap_bio(b, a, server_side=True)
        with pytest.raises(ssl.SSLWantReadError):
            ours.do_handshake()
        with pytest.raises(ssl.SSLWantReadError):
            theirs.do_handshake()
        ours.do_handshake()
        assert ours.selected_alpn_protocol() == chosen


# What cannot be used


def test_unusable_files_are_named(tmp_path: Path) -> None:
    made, other = make(tmp_path), make(tmp_path, "other")
    rsa = make(tmp_path, "rsa", kind="rsa")
    empty = tmp_path / "empty"
    empty.touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(made.certificate.read_bytes().replace(b"M", b"!"))
    key, certificate = str(made.key), str(made.certificate)
    for wrong, file, problem in [
        ((key, str(tmp_path / "none")), str(tmp_path / "none"), "No such file"),
        ((str(tmp_path / "none"), certificate), str(tmp_path / "none"), "No such file"),
        ((str(other.key), certificate), str(other.key), "does not belong"),
        ((str(rsa.key), certificate), str(rsa.key), "does not belong"),
        ((certificate, certificate), certificate, "no private key"),
        ((key, key), key, "no certificate"),
        ((key, str(empty)), str(empty), "no certificate"),
        ((key, str(tmp_path)), str(tmp_path), "no regular file"),
        ((key, str(fifo)), str(fifo), "no regular file"),
        ((key, str(damaged)), str(damaged), "cannot be used"),
    ]:
        with pytest.raises(CertificateError, match=problem) as caught:
            Certificates([CertificateFiles(*wrong)])
        assert caught.value.file == file


def test_a_locked_key_is_named(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    made = make(tmp_path)
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match="locked by a password") as caught:
        Certificates([files(made)])
    assert caught.value.file == str(made.key)


def test_a_key_is_in_no_repr(tmp_path: Path) -> None:
    material = files(make(tmp_path)).read()
    assert "PRIVATE" not in repr(material)
    assert x509.load_pem_x509_certificate(material.certificate)


# Files that change


def settle(certificates: Certificates) -> None:
    for _ in range(3):
        certificates.look_again()


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, names=("a.example",))


@pytest.mark.parametrize("settled", [True, False])
def test_changed_files_are_served(made: Made, settled: bool) -> None:
    certificates = Certificates([files(made)])
    if settled:
        settle(certificates)
    before = certificates.current()
    make(made.key.parent, names=("b.example",), kind="rsa")
    certificates.look_again()
    assert shown(certificates) == der(made)
    assert certificates.current() is not before
    (state,) = certificates.states()
    assert (state.names, state.changes, state.failures) == (("b.example",), 1, 0)


def test_what_did_not_change_is_left_alone(made: Made) -> None:
    certificates = Certificates([files(made)])
    before = certificates.current()
    settle(certificates)
    os.utime(made.key)
    shutil.copyfile(made.certificate, made.certificate.with_suffix(".new"))
    made.certificate.with_suffix(".new").replace(made.certificate)
    settle(certificates)
    assert certificates.current() is before
    assert certificates.states()[0].changes == 0


def test_a_half_replaced_pair_is_looked_at_until_it_fits(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates([files(made)])
    settle(certificates)
    old = der(made)
    new = make(tmp_path, "new", ("b.example",))
    shutil.copyfile(new.certificate, made.certificate)
    for _ in range(5):
        certificates.look_again()
        assert shown(certificates) == old
    (state,) = certificates.states()
    assert (state.changes, state.failures) == (0, 1)  # once a change
    assert state.problem is not None
    assert "does not belong" in state.problem
    # The key comes within the clock's tick, so that its file looks as before.
    status = made.key.stat()
    made.key.write_bytes(new.key.read_bytes())
    os.utime(made.key, ns=(status.st_atime_ns, status.st_mtime_ns))
    certificates.look_again()
    assert shown(certificates) == der(new)
    (state,) = certificates.states()
    assert (state.changes, state.failures, state.problem) == (1, 1, None)


def test_files_that_are_gone_for_a_while(made: Made) -> None:
    certificates = Certificates([files(made)])
    settle(certificates)
    kept = made.certificate.read_bytes()
    made.certificate.unlink()
    settle(certificates)
    assert certificates.states()[0].failures == 1
    assert shown(certificates)
    made.certificate.write_bytes(kept)
    settle(certificates)
    assert certificates.states()[0].problem is None
    made.certificate.unlink()
    settle(certificates)
    assert certificates.states()[0].failures == 2


def test_a_link_that_is_switched(made: Made, tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    new = make(tmp_path / "v2", names=("a.example",))
    link, key = tmp_path / "live.crt", tmp_path / "live.key"
    link.symlink_to(made.certificate)
    key.symlink_to(made.key)
    certificates = Certificates([CertificateFiles(str(key), str(link))])
    settle(certificates)
    for at, target in ((link, new.certificate), (key, new.key)):
        at.unlink()
        at.symlink_to(target)
    certificates.look_again()
    assert shown(certificates) == der(new)


def test_one_that_fails_holds_up_no_other(made: Made, tmp_path: Path) -> None:
    other = make(tmp_path, "other", ("b.example",))
    certificates = Certificates([files(made), files(other)])
    settle(certificates)
    made.key.write_bytes(b"")
    old = der(made)
    new = make(tmp_path, "other", ("c.example",))
    settle(certificates)
    assert shown(certificates, "c.example") == der(new)
    assert shown(certificates, "b.example") == shown(certificates) == old
    assert [state.failures for state in certificates.states()] == [1, 0]


def test_adding_and_removing(made: Made, tmp_path: Path) -> None:
    other = make(tmp_path, "other", ("b.example",))
    certificates = Certificates([files(made)])
    certificates.add(files(other))
    assert shown(certificates, "b.example") == der(other)
    with pytest.raises(CertificateError):
        certificates.add(CertificateFiles("/nowhere", "/nowhere"))
    assert len(certificates) == 2
    certificates.remove(files(made))
    assert shown(certificates) == der(other)
    certificates.remove(files(other))
    assert len(certificates) == 1
