"""Vault's transit engine: signs what we ask it to, with a key that nobody can read; and verifies."""

import base64

from broker.errors import BrokerError
from broker.stores.vault import shapes
from broker.stores.vault.session import Session


class Transit:
    """One signing key in Vault."""

    def __init__(self, session: Session, key: str, mount: str = "transit") -> None:
        self._session, self._key, self._mount = session, key, mount

    def sign(self, data: bytes) -> str:
        """Return Vault's signature.

        Raises:
            StoreUnavailable: Vault is away, or does not let us.
        """
        return self._session.ask(
            f"sign with {self._key}",
            lambda client: shapes.text(
                client.adapter.post(f"/v1/{self._mount}/sign/{self._key}", json={"input": _text(data)}),
                "data", "signature",
            ),
        )  # fmt: skip

    def is_signed(self, data: bytes, signature: str) -> bool:
        """Tell whether Vault signed this; a signature of the wrong form is none.

        Raises:
            StoreUnavailable: Vault is away, or does not let us ask.
        """
        try:
            return self._session.ask(
                f"verify with {self._key}",
                lambda client: shapes.truth(
                    client.adapter.post(
                        f"/v1/{self._mount}/verify/{self._key}",
                        json={"input": _text(data), "signature": signature},
                    ),
                    "data", "valid",
                ),
            )  # fmt: skip
        except BrokerError as fault:
            if fault.reason == "vault_refused":
                return False
            raise

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
