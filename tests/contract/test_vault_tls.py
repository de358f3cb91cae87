"""Vault behind TLS: its certificate is checked, ours is shown, and the namespace goes with every request."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.errors import NotFound, StoreUnavailable
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from tests.contract.unruly import relay
from tests.services import binaries
from tests.services.vault.server import VaultServer, raft_vault

NOW = dt.datetime.now(dt.UTC)


@dataclass
class Authority:
    """A certificate authority of the test's own."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(self.name, self.key.public_key(), self.name, ca=True)
        self.file = self._write(
            f"{self.name}-ca.pem", self.certificate.public_bytes(serialization.Encoding.PEM)
        )

    def issue(self, name: str, *, host: str = "127.0.0.1", days: int = 1) -> tuple[Path, Path]:
        """Issue a certificate; return its file and that of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(name, key.public_key(), self.name, ca=False, host=host, days=days)
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{name}.pem", made.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", plain),
        )

    def _signed(
        self, name: str, public: Any, issuer: str, *, ca: bool, host: str = "127.0.0.1", days: int = 1
    ) -> x509.Certificate:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
        builder = (
            x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(public)
            .serial_number(x509.random_serial_number()).not_valid_before(NOW - dt.timedelta(days=9))
            .not_valid_after(NOW + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        if not ca:
            usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            address = x509.IPAddress(ipaddress.ip_address(host))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)
        return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


@pytest.fixture(scope="module")
def tls_vault(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[VaultServer]:
    """A Vault that shows a certificate, and wants one."""
    binaries.need("vault")
    certificate, key = authority.issue("vault")
    client = authority.issue("administrator")
    tls = {
        "tls_disable": False, "tls_cert_file": str(certificate), "tls_key_file": str(key),
        "tls_require_and_verify_client_cert": True, "tls_client_ca_file": str(authority.file),
    }  # fmt: skip
    with raft_vault(
        tmp_path_factory.mktemp("tls"), tls=tls, trust=authority.file, client_cert=client
    ) as server:
        server.client().sys.enable_secrets_engine("kv", path="portcullis", options={"version": "2"})
        yield server


@pytest.fixture
def config(tls_vault: VaultServer, authority: Authority, tmp_path: Path) -> VaultConfig:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(tls_vault.root)
    return VaultConfig(
        (tls_vault.address,), TokenAuth(token), ca_file=authority.file, client_cert=authority.issue("broker"),
        timeout_s=30,
    )  # fmt: skip


def asked(config: VaultConfig) -> str:
    """Write and read; return the reason of a failure, or nothing."""
    store = VaultStore(Session(config))
    try:
        store.write("keys/main/trade/1", {"secret": Secret("planted")}, {})
        assert store.read("keys/main/trade/1")["secret"].reveal() == "planted"
    except StoreUnavailable as fault:
        return fault.reason
    finally:
        store.close()
    return ""


def test_the_right_certificates_open(config: VaultConfig) -> None:
    assert config.addresses[0].startswith("https://")
    assert asked(config) == ""


def test_a_certificate_of_an_authority_we_do_not_know_is_refused(config: VaultConfig, tmp_path: Path) -> None:
    assert asked(replace(config, ca_file=Authority(tmp_path, "theirs").file)) == "vault_tls"


def test_the_systems_authorities_do_not_know_ours(config: VaultConfig) -> None:
    assert asked(replace(config, ca_file=None)) == "vault_tls"


@pytest.mark.parametrize("which", ["none", "foreign", "expired"])
def test_a_vault_that_wants_our_certificate_is_not_asked_without(
    config: VaultConfig, authority: Authority, tmp_path: Path, which: str
) -> None:
    shown = {
        "none": lambda: None,
        "foreign": lambda: Authority(tmp_path, "theirs").issue("broker"),
        "expired": lambda: authority.issue("late", days=-1),
    }[which]()
    assert asked(replace(config, client_cert=shown)) in {"vault_tls", "vault_unreachable"}


def test_the_namespace_goes_with_every_request(vault: VaultServer, mount: str, root_token: Path) -> None:
    """Namespaces are an Enterprise feature: here the header is what can be seen."""
    with relay(vault.address) as between:
        config = VaultConfig((between.address,), TokenAuth(root_token), mount, namespace="team-a")
        store = VaultStore(Session(config))
        with pytest.raises((StoreUnavailable, NotFound)):
            store.read("keys/none")
        store.close()
        assert between.seen
        assert all(b"X-Vault-Namespace: team-a" in request for request in between.seen)
