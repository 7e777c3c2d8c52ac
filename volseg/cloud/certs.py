"""The private certificate authority of one cluster, the identities it issues, and their files.

Dask checks that a peer's certificate comes from this authority, so the authority is the trust
boundary: its key is read by people only, never by a node. Nothing here prints or logs a key. Where
they are kept: `vault`.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import InputError, NotThereError

ROLES = ("head", "worker", "client")
FILES = ("ca.pem", "cert.pem", "key.pem")
VARIABLES = ("VOLSEG_TLS_CA", "VOLSEG_TLS_CERT", "VOLSEG_TLS_KEY")
AUTHORITY_DAYS = 1825
NODE_DAYS = 397


@dataclass(frozen=True)
class Authority:
    """A certificate authority.

    Parameters
    ----------
    certificate, key
        PEM text; the key is a secret.
    """

    certificate: str
    key: str

    def __repr__(self) -> str:  # a key must not reach a log through a dataclass's repr
        return "Authority(…)"


@dataclass(frozen=True)
class Identity:
    """What one end of a TLS connection needs.

    Parameters
    ----------
    authority
        Certificate of the authority, PEM.
    certificate, key
        Of this end, PEM; the key is a secret.
    """

    authority: str
    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Identity(…)"

    def write(self, folder: Path) -> Path:
        """Write ``ca.pem``, ``cert.pem`` and ``key.pem``, readable by this user alone.

        Parameters
        ----------
        folder
            Made if missing, with mode 0700.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in zip(FILES, (self.authority, self.certificate, self.key), strict=True):
            new = folder / f".{name}.new"
            new.unlink(missing_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(text)
            new.replace(folder / name)
        return folder


def make_authority(name: str, days: int = AUTHORITY_DAYS) -> Authority:
    """Make a certificate authority of its own for one cluster.

    Parameters
    ----------
    name
        Of the cluster; becomes part of the common name.
    days
        Validity.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"volseg {name} authority")
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(_sign(certificate, key), _key_text(key))


def issue(authority: Authority, role: str, days: int = NODE_DAYS) -> Identity:
    """Issue a certificate for one role, good for both ends of a connection.

    Parameters
    ----------
    authority
        Signs it.
    role
        ``head``, ``worker`` or ``client``.
    days
        Validity.

    Raises
    ------
    InputError
        If there is no such role.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    check_role(role)
    signer = serialization.load_pem_private_key(authority.key.encode(), password=None)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    both_ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    certificate = (
        _builder(_subject(f"volseg {role}"), issuer.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_agreement=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_ends), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(role)]), critical=False)
        .add_extension(signer_id, critical=False)
    )
    return Identity(authority.certificate, _sign(certificate, signer), _key_text(key))


def expires(certificate: str) -> datetime.datetime:
    """Return when a PEM certificate ends (UTC)."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


@dataclass(frozen=True)
class TlsFiles:
    """Where the files of one end of a TLS connection lie.

    Parameters
    ----------
    ca, cert, key
        PEM files.
    """

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def in_folder(cls, folder: Path) -> TlsFiles:
        """The files that `Identity.write` wrote."""
        return cls(*(folder / name for name in FILES))

    @classmethod
    def from_environment(cls) -> TlsFiles:
        """The files that ``VOLSEG_TLS_CA``, ``VOLSEG_TLS_CERT`` and ``VOLSEG_TLS_KEY`` name.

        Raises
        ------
        InputError
            If one of them is not set.
        """
        missing = [name for name in VARIABLES if not os.environ.get(name)]
        if missing:
            raise InputError(
                f"a tls:// address needs certificates: set {', '.join(missing)}, or pass --tls "
                "with the folder that `volseg cloud certs --out` wrote"
            )
        return cls(*(Path(os.environ[name]) for name in VARIABLES))

    def security(self) -> Any:
        """Return the `distributed.Security` that refuses peers without a certificate of ours.

        Raises
        ------
        NotThereError
            If one of the files is missing.
        """
        from distributed import Security

        missing = [str(path) for path in (self.ca, self.cert, self.key) if not path.is_file()]
        if missing:
            raise NotThereError(
                f"{', '.join(missing)}: no such file; `volseg cloud certs --out FOLDER` writes them"
            )
        ends = {
            f"tls_{end}_{kind}": str(path)
            for end in ("client", "scheduler", "worker")
            for kind, path in (("cert", self.cert), ("key", self.key))
        }
        return Security(tls_ca_file=str(self.ca), require_encryption=True, **ends)

    def environment(self) -> dict[str, str]:
        """Return the variables by which Dask and volseg in a child process find these files.

        Only paths stand in them, never a key.
        """
        settings = dict(zip(VARIABLES, (str(self.ca), str(self.cert), str(self.key)), strict=True))
        settings["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "true"
        settings["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = str(self.ca)
        for end in ("CLIENT", "SCHEDULER", "WORKER"):
            settings[f"DASK_DISTRIBUTED__COMM__TLS__{end}__CERT"] = str(self.cert)
            settings[f"DASK_DISTRIBUTED__COMM__TLS__{end}__KEY"] = str(self.key)
        return settings


# --- cryptography's parts ------------------------------------------------------------------------


def check_role(role: str) -> None:
    """Refuse what is none of `ROLES`."""
    if role not in ROLES:
        raise InputError(f"no role {role!r}: expected one of {', '.join(ROLES)}")


def _subject(name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _builder(subject: Any, issuer: Any, public_key: Any, days: int) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage(**granted: bool) -> Any:
    from cryptography import x509

    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: granted.get(name, False) for name in names})


def _sign(builder: Any, key: Any) -> str:
    from cryptography.hazmat.primitives import hashes, serialization

    pem: bytes = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return pem.decode()


def _key_text(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode()
