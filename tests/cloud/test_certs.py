"""The authority, what it issues, and where it is kept."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws

from volseg.cloud.certs import FILES, ROLES, Authority, TlsFiles, expires, issue, make_authority
from volseg.cloud.vault import Vault
from volseg.errors import ExistsError, InputError, NotThereError


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("lab")


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield Vault(boto3.client("ssm", region_name="eu-west-1"), "lab")


def test_an_identity_is_signed_by_its_authority_and_by_no_other(authority: Authority) -> None:
    identity = issue(authority, "worker")
    issued = x509.load_pem_x509_certificate(identity.certificate.encode())
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))
    stranger = make_authority("lab")  # the same name, another key
    with pytest.raises(Exception, match=r"^$|signature"):
        issued.verify_directly_issued_by(
            x509.load_pem_x509_certificate(stranger.certificate.encode())
        )


def test_an_identity_can_not_issue_others(authority: Authority) -> None:
    issued = x509.load_pem_x509_certificate(issue(authority, "client").certificate.encode())
    constraints = issued.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    usage = issued.extensions.get_extension_for_class(x509.KeyUsage).value
    assert not usage.key_cert_sign
    assert isinstance(issued.public_key(), ec.EllipticCurvePublicKey)


def test_certificates_end(authority: Authority) -> None:
    left = expires(issue(authority, "head", days=30).certificate) - datetime.datetime.now(
        datetime.UTC
    )
    assert datetime.timedelta(days=29) < left <= datetime.timedelta(days=30)


def test_no_identity_for_an_unknown_role(authority: Authority) -> None:
    with pytest.raises(InputError, match=r"'root'.*head, worker, client"):
        issue(authority, "root")


def test_keys_stay_out_of_representations(authority: Authority) -> None:
    assert "PRIVATE" not in repr(authority) + repr(issue(authority, "head"))


def test_files_are_for_the_user_alone(authority: Authority, tmp_path: Path) -> None:
    folder = issue(authority, "client").write(tmp_path / "tls")
    issue(authority, "client").write(folder)  # again: replaced, not refused
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_security_refuses_what_is_not_encrypted(authority: Authority, tmp_path: Path) -> None:
    security = TlsFiles.in_folder(issue(authority, "client").write(tmp_path)).security()
    assert security.require_encryption is True
    assert security.tls_ca_file == str(tmp_path / "ca.pem")
    (tmp_path / "key.pem").unlink()
    with pytest.raises(NotThereError, match=r"key\.pem.*volseg cloud certs"):
        TlsFiles.in_folder(tmp_path).security()


def test_files_from_the_environment(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TlsFiles.in_folder(issue(authority, "client").write(tmp_path))
    environment = files.environment()
    assert not any("PRIVATE" in value for value in environment.values())
    for name in ("VOLSEG_TLS_CA", "VOLSEG_TLS_CERT"):
        monkeypatch.setenv(name, environment[name])
    with pytest.raises(InputError, match="VOLSEG_TLS_KEY"):
        TlsFiles.from_environment()
    monkeypatch.setenv("VOLSEG_TLS_KEY", environment["VOLSEG_TLS_KEY"])
    assert TlsFiles.from_environment() == files


def test_the_vault_keeps_all_encrypted_and_by_role(vault: Vault, authority: Authority) -> None:
    vault.keep_authority(authority)
    found = boto3.client("ssm", region_name="eu-west-1").describe_parameters()["Parameters"]
    assert {parameter["Type"] for parameter in found} == {"SecureString"}
    assert vault.names() == sorted(
        ["authority/certificate", "authority/key"]
        + [f"{role}/{part}" for role in ROLES for part in ("authority", "certificate", "key")]
    )
    assert vault.authority() == authority
    worker = vault.identity("worker")
    assert worker.authority == authority.certificate
    assert worker.key != vault.identity("head").key


def test_the_vault_replaces_only_when_asked(vault: Vault, authority: Authority) -> None:
    vault.keep_authority(authority)
    other = make_authority("lab")
    with pytest.raises(ExistsError, match="/volseg/lab/authority/key"):
        vault.keep_authority(other)
    vault.keep_authority(other, renew=True)
    assert vault.authority() == other


def test_the_vault_is_emptied(vault: Vault, authority: Authority) -> None:
    vault.keep_authority(authority)
    vault.put("head/prefect", "someone:password")
    vault.empty()
    assert vault.names() == []
    with pytest.raises(NotThereError, match="volseg cloud certs --stack lab"):
        vault.identity("head")
