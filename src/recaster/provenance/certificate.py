"""Who signs: an identity made on this machine, or a certificate of the user's own.

The local identity is a root and a leaf certificate that meet the certificate profile of the C2PA specification (X.509
v3, digitalSignature, one allowed purpose, not self-signed). Its folder holds numbered generations, each complete before
it appears; the newest one signs, and an expiring leaf is followed by a new generation.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recaster.errors import InputError
from recaster.files import atomic_folder, storage_errors

ROOT_LIFE = timedelta(days=3652)
LEAF_LIFE = timedelta(days=730)
RENEW_BEFORE = timedelta(days=30)

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """What signing needs. ``chain`` is PEM, leaf first; ``key`` the leaf's private key as PKCS #8 PEM.

    ``algorithm`` is C2PA's name of it ("es256" ...). ``local`` identities were made by this installation.
    """

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str
    name: str
    issuer: str
    expires: datetime
    local: bool

    def describe(self) -> list[str]:
        """What a signature by this identity proves, and what it does not, in plain lines."""
        lines = [
            f"Signs as: {self.name} (until {self.expires:%Y-%m-%d}).",
            "A signature proves that the file has not been altered since it was signed.",
        ]
        if self.local:
            return [
                *lines,
                "It shows which installation of Recaster signed, not who the person at it was.",
                'Other programs show "unknown signer", since no authority has vouched for this certificate.',
            ]
        return [*lines, f"Other programs show this name where they trust its issuer, {self.issuer}."]


def local_identity(folder: Path, now: datetime | None = None) -> Identity:
    """The identity of this installation, made on first use and renewed when its leaf is about to expire.

    Processes may call this at the same time: all get the same identity. Raises InputError for a damaged folder,
    StorageError when it cannot be written.
    """
    now = now or datetime.now(UTC)
    newest = max(_generations(folder), default=None)
    if newest is not None:
        identity = _read_local(newest)
        if now + RENEW_BEFORE < identity.expires:
            return identity
    place = folder / f"{int(newest.name) + 1 if newest else 1:04d}"
    _make_generation(place, newest, now)
    return _read_local(place)


def load_identity(chain: Path, key: Path, now: datetime | None = None) -> Identity:
    """A certificate chain (PEM, leaf first) and private key (PEM, not encrypted) of the user's own.

    Raises InputError when they cannot be read, do not belong together, or are out of date.
    """
    certificates, private = _read_chain(chain), _read_key(key)
    leaf = certificates[0]
    if _spki(leaf.public_key()) != _spki(private.public_key()):
        raise InputError(
            "the private key does not belong to the first certificate of the chain",
            where=key,
            mend="Give the chain with the signer's own certificate first, and the key made with it.",
        )
    now = now or datetime.now(UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise InputError(
            f"the certificate holds from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}",
            where=chain,
            mend="Renew it, or sign with the local identity.",
        )
    return _identity(certificates, private, key, local=False)


def known_roots(folder: Path) -> bytes:
    """The root certificates this installation has used (PEM, one after another); empty before the first use."""
    pems: dict[bytes, None] = {}
    for generation in sorted(_generations(folder)):
        pems[_read_bytes(generation / "root.pem")] = None
    return b"".join(pems)


def _generations(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]


def _make_generation(place: Path, previous: Path | None, now: datetime) -> None:
    root, root_key = _root_for(previous, now)
    leaf, leaf_key = _make_leaf(root, root_key, now)
    ready = place.with_name(f"new-{secrets.token_hex(8)}")
    with atomic_folder(ready) as part:
        (part / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
        (part / "chain.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        _write_key(part / "root-key.pem", root_key)
        _write_key(part / "key.pem", leaf_key)
    try:
        with storage_errors(place):
            ready.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    finally:
        # Still there when another process was first: its identity is the one that counts.
        shutil.rmtree(ready, ignore_errors=True)


def _root_for(previous: Path | None, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The previous generation's root while it outlives a new leaf, else a new one."""
    if previous is not None:
        root = _read_chain(previous / "root.pem")[0]
        key = _read_key(previous / "root-key.pem")
        if root.not_valid_after_utc >= now + LEAF_LIFE and isinstance(key, ec.EllipticCurvePrivateKey):
            return root, key
    return _make_root(now)


def _make_root(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # Named after the key: it tells installations apart, and nothing about the machine or its owner.
    name = _subject(f"Recaster root {hashlib.sha256(_spki(key.public_key())).hexdigest()[:8]}")
    builder = (
        _builder(name, name, key, now, now + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    return builder.sign(key, hashes.SHA256()), key


def _make_leaf(
    root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(_common_name(root.subject).replace("root", "installation"))
    builder = (
        _builder(name, root.subject, key, now, now + LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
    )
    return builder.sign(root_key, hashes.SHA256()), key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Recaster local identity"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)  # before the key is in it; Windows goes by the rights of the user's own folder
    path.write_bytes(_pem(key))


def _read_local(generation: Path) -> Identity:
    certificates = _read_chain(generation / "chain.pem")
    return _identity(certificates, _read_key(generation / "key.pem"), generation, local=True)


def _identity(chain: list[x509.Certificate], key: PrivateKeyTypes, where: Path, *, local: bool) -> Identity:
    leaf = chain[0]
    return Identity(
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        key=_pem(key),
        algorithm=_algorithm(key, where),
        name=_common_name(leaf.subject),
        issuer=_common_name(leaf.issuer),
        expires=leaf.not_valid_after_utc,
        local=local,
    )


def _algorithm(key: PrivateKeyTypes, where: Path) -> str:
    """C2PA's name for signing with this key (C2PA specification, digital signatures)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise InputError(
        "this kind of private key cannot sign media",
        where=where,
        mend="Use EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits and more.",
    )


def _common_name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return str(attribute.value)
    return name.rfc4514_string()


def _pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _spki(key: CertificatePublicKeyTypes | PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read_bytes(path))
    except ValueError as error:
        raise InputError("no certificate in PEM form is in this file", where=path, mend=_mend(path)) from error


def _read_key(path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(_read_bytes(path), password=None)
    except TypeError as error:
        raise InputError(
            "the private key is locked with a password", where=path, mend="Give a copy of it without one."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("no private key in PEM form is in this file", where=path, mend=_mend(path)) from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("cannot be read", where=path, mend=_mend(path)) from error


def _mend(path: Path) -> str:
    if path.parent.name.isdecimal():
        return f"Delete the folder {path.parent}: the next signature makes a new local identity."
    return "Check the path and its rights."
