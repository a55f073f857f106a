from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from recaster.errors import InputError, StorageError
from recaster.provenance import certificate
from recaster.provenance.certificate import LEAF_LIFE, ROOT_LIFE, Identity, known_roots, load_identity, local_identity

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def leaf_of(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(identity.chain)


def test_the_identity_is_reused(tmp_path: Path) -> None:
    first = local_identity(tmp_path / "söme id", NOW)
    again = local_identity(tmp_path / "söme id", NOW + timedelta(days=600))
    assert again == first
    assert first.local and first.algorithm == "es256"
    assert first.name.startswith("Recaster installation ")


def test_the_leaf_meets_the_profile(tmp_path: Path) -> None:
    leaf = leaf_of(local_identity(tmp_path, NOW))
    root = x509.load_pem_x509_certificate(known_roots(tmp_path))
    leaf.verify_directly_issued_by(root)
    assert leaf.subject != leaf.issuer
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc == NOW + LEAF_LIFE
    assert root.not_valid_after_utc == NOW + ROOT_LIFE


def test_an_expiring_leaf_is_renewed_under_the_same_root(tmp_path: Path) -> None:
    first = local_identity(tmp_path, NOW)
    later = local_identity(tmp_path, NOW + LEAF_LIFE - timedelta(days=3))
    assert leaf_of(later).serial_number != leaf_of(first).serial_number
    assert later.expires > first.expires
    assert later.name == first.name
    assert known_roots(tmp_path).count(b"BEGIN CERTIFICATE") == 1


def test_an_old_root_is_replaced_and_remembered(tmp_path: Path) -> None:
    first = local_identity(tmp_path, NOW)
    later = local_identity(tmp_path, NOW + ROOT_LIFE - timedelta(days=100))
    assert later.name != first.name
    assert known_roots(tmp_path).count(b"BEGIN CERTIFICATE") == 2


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX notion")
def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    local_identity(tmp_path, NOW)
    keys = list(tmp_path.rglob("*key.pem"))
    assert len(keys) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_keys_stay_out_of_printed_identities(identity: Identity) -> None:
    assert "PRIVATE" not in repr(identity)


def test_threads_racing_get_one_identity(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: local_identity(tmp_path / "id", NOW), range(8)))
    assert len({identity.chain for identity in found}) == 1
    assert [path.name for path in (tmp_path / "id").iterdir()] == ["0001"]


def test_processes_racing_get_one_identity(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from recaster.provenance.certificate import local_identity;"
        "sys.stdout.buffer.write(local_identity(pathlib.Path(sys.argv[1])).chain)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "id")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    results = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], results
    assert len({out for out, _ in results}) == 1


def test_a_failed_write_leaves_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(certificate, "_write_key", full)
    with pytest.raises(StorageError, match="disk is full"):
        local_identity(tmp_path / "id", NOW)
    assert list((tmp_path / "id").iterdir()) == []


def test_a_damaged_identity_says_how_to_mend_it(tmp_path: Path) -> None:
    local_identity(tmp_path, NOW)
    (tmp_path / "0001" / "key.pem").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"Delete the folder .*0001"):
        local_identity(tmp_path, NOW)


def test_limits_are_told_in_plain_words(identity: Identity) -> None:
    text = " ".join(identity.describe())
    assert "not been altered" in text
    assert "not who the person" in text
    assert "unknown signer" in text


@pytest.fixture
def own_files(tmp_path: Path) -> tuple[Path, Path]:
    made = local_identity(tmp_path / "id", NOW)
    chain, key = tmp_path / "my chain.pem", tmp_path / "my key.pem"
    chain.write_bytes(made.chain + known_roots(tmp_path / "id"))
    key.write_bytes(made.key)
    return chain, key


def test_own_certificates_are_taken(own_files: tuple[Path, Path]) -> None:
    identity = load_identity(*own_files, now=NOW)
    assert not identity.local
    assert identity.chain.count(b"BEGIN CERTIFICATE") == 2
    assert identity.issuer in " ".join(identity.describe())


def test_own_certificates_are_checked(own_files: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = own_files
    with pytest.raises(InputError, match="holds from"):
        load_identity(chain, key, now=NOW + timedelta(days=900))
    with pytest.raises(InputError, match="no certificate"):
        load_identity(key, key, now=NOW)
    with pytest.raises(InputError, match="no private key"):
        load_identity(chain, chain, now=NOW)
    with pytest.raises(InputError, match="cannot be read"):
        load_identity(tmp_path / "none.pem", key, now=NOW)
    local_identity(tmp_path / "other", NOW)
    with pytest.raises(InputError, match="does not belong"):
        load_identity(chain, tmp_path / "other" / "0001" / "key.pem", now=NOW)


def test_a_locked_key_is_refused(own_files: tuple[Path, Path]) -> None:
    chain, key = own_files
    private = load_pem_private_key(key.read_bytes(), None)
    locked = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    key.write_bytes(locked)
    with pytest.raises(InputError, match="locked with a password"):
        load_identity(chain, key, now=NOW)


def test_algorithms_follow_the_key() -> None:
    where = Path("key.pem")
    assert certificate._algorithm(ec.generate_private_key(ec.SECP384R1()), where) == "es384"
    assert certificate._algorithm(ed25519.Ed25519PrivateKey.generate(), where) == "ed25519"
    assert certificate._algorithm(rsa.generate_private_key(65537, 2048), where) == "ps256"
    with pytest.raises(InputError, match="cannot sign media"):
        certificate._algorithm(ec.generate_private_key(ec.SECP256K1()), where)
