"""Who signs a home's audit checkpoints, and where they are anchored, as `home.json` says.

The signing key is `audit.key` in the home: Ed25519, PKCS#8. One that is lost is replaced, which shows in the trail.
"""

import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from broker.audit.anchors import FileAnchor, SyslogAnchor, TransitAnchor, WebhookAnchor
from broker.audit.checkpoint import fingerprint
from broker.audit.ports import Anchor
from broker.service.audit import Signer
from broker.stores.vault.session import Session
from broker.stores.vault.transit import Transit
from clients.secret import Secret
from portcullis.audit_settings import (
    AnchorDocument,
    FileDocument,
    SyslogDocument,
    TransitDocument,
    WebhookDocument,
)
from portcullis.settings import Home, SettingsError

SIGNER = "broker"


def signer_of(home: Home) -> Signer:
    """Return who signs here; makes the key where there is none.

    Raises:
        SettingsError: The key or an anchor's file cannot be used.
    """
    anchors = () if home.audit is None else tuple(_anchor(home, one) for one in home.audit.anchors)
    return Signer(SIGNER, _key(home), anchors)


def signs_as(home: Home) -> str:
    """Return what the home's signing key is known by; empty where it has none yet. Makes none.

    Raises:
        SettingsError: The key cannot be used.
    """
    return fingerprint(_key(home).public_key()) if (home.root / "audit.key").exists() else ""


def transit_of(home: Home, document: TransitDocument) -> Transit:
    """Return the signing key in Vault that an anchor names."""
    if home.vault is None:
        raise SettingsError("audit.anchors", "transit needs a Vault; this home keeps its keys itself")
    return Transit(Session(home.vault.config()), document.key, document.mount)


def _key(home: Home) -> Ed25519PrivateKey:
    path = home.root / "audit.key"
    if not path.exists():
        fresh = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(fresh)
            file.flush()
            os.fsync(file.fileno())
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            "audit.key", f"{path} is no Ed25519 key; restore it, or move it away for a new one"
        )
    return key


def _anchor(home: Home, document: AnchorDocument) -> Anchor:
    match document:
        case FileDocument():
            return FileAnchor(document.path.expanduser())
        case SyslogDocument():
            return SyslogAnchor(document.address)
        case WebhookDocument():
            try:
                secret = Secret(document.secret_file.expanduser().read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError):
                raise SettingsError(
                    "audit.anchors", f"{document.secret_file} cannot be read; check its rights"
                ) from None
            return WebhookAnchor(document.url, secret, reach=home.reach)
        case TransitDocument():
            return TransitAnchor(document.path.expanduser(), transit_of(home, document).sign)
