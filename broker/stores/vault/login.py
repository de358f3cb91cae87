"""Logging in to Vault: by a token in a file, by AppRole, by Kubernetes.

Rules:
1. What proves us is read anew at every login: agents, kubelets and people replace those files.
2. A wrapped secret id is looked at before it is unwrapped: it must come from our role's own path. It is
   unwrapped once; the secret id then lives in memory only. One that was unwrapped before means somebody may have
   read it, and the message says so.
"""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidRequest

from broker.errors import StoreUnavailable
from broker.stores.vault import shapes
from broker.stores.vault.config import AppRoleAuth, Auth, KubernetesAuth, TokenAuth
from clients.secret import Secret

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Token:
    """A Vault token. `life_s` 0: it never ends."""

    value: Secret
    life_s: float
    renewable: bool
    got_s: float

    def is_due(self, now_s: float) -> bool:
        """Tell whether half of its life is over."""
        return self.life_s > 0 and now_s - self.got_s > self.life_s / 2


class Login:
    """Logs in, again and again."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._unwrapped: Secret | None = None

    def __call__(self, client: hvac.Client, now_s: float) -> Token:
        """Log in by a client without a token.

        Raises:
            StoreUnavailable: `vault_login`: what proves us cannot be read, or Vault does not take it.
            Exception: What hvac and requests raise where Vault does not answer.
        """
        auth = self._auth
        try:
            match auth:
                case TokenAuth():
                    return _by_token(client, read_proof(auth.file, "the Vault token", private=True), now_s)
                case AppRoleAuth():
                    secret_id = self._secret_id(client, auth)
                    answer = client.auth.approle.login(
                        auth.role_id, secret_id.reveal(), use_token=False, mount_point=auth.mount
                    )
                case KubernetesAuth():
                    proof = read_proof(auth.token_file, "the service-account token", private=False)
                    answer = client.auth.kubernetes.login(
                        auth.role, proof.reveal(), use_token=False, mount_point=auth.mount
                    )
        except (InvalidRequest, Forbidden):
            raise StoreUnavailable("vault_login", f"Vault does not let us in: {_remedy(auth)}") from None
        return _token(answer, now_s)

    def _secret_id(self, client: hvac.Client, auth: AppRoleAuth) -> Secret:
        if not auth.wrapped:
            return read_proof(auth.secret_id_file, "the AppRole secret id", private=True)
        if self._unwrapped is None:
            self._unwrapped = _unwrap(
                client, read_proof(auth.secret_id_file, "the wrapped secret id", private=True), auth
            )
        return self._unwrapped


def read_proof(path: Path, what: str, *, private: bool) -> Secret:
    """Read what proves us from a file.

    Raises:
        StoreUnavailable: It cannot be read, is empty, or others may read it where it must be private.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise StoreUnavailable("vault_login", f"{what} cannot be read from {path}: put it there") from None
    if private and mode & _OTHERS:
        raise StoreUnavailable(
            "vault_login",
            f"others may read {path}: run `chmod 600 {path}`, and replace {what} where others were there",
        )
    if not text:
        raise StoreUnavailable("vault_login", f"{path} is empty: put {what} there")
    return Secret(text)


def _by_token(client: hvac.Client, value: Secret, now_s: float) -> Token:
    client.token = value.reveal()
    lease = shapes.lease(shapes.part(client.auth.token.lookup_self(), "data"), "ttl")
    return Token(value, lease.life_s, lease.renewable, now_s)


def _token(answer: Any, now_s: float) -> Token:
    auth = shapes.part(answer, "auth")
    lease = shapes.lease(auth, "lease_duration")
    return Token(Secret(shapes.text(auth, "client_token")), lease.life_s, lease.renewable, now_s)


def _unwrap(client: hvac.Client, wrapping: Secret, auth: AppRoleAuth) -> Secret:
    """Look where a wrapped secret id comes from, then unwrap it."""
    try:
        facts = client.adapter.post("/v1/sys/wrapping/lookup", json={"token": wrapping.reveal()})
        made_at = shapes.text(facts, "data", "creation_path")
        wanted = f"auth/{auth.mount}/role/{auth.role}/secret-id"
        if made_at != wanted:
            raise StoreUnavailable(
                "vault_login",
                f"{auth.secret_id_file} wraps something from {made_at!r}, not from {wanted!r}: "
                "it was not made for us; find out who put it there",
            )
        client.token = wrapping.reveal()
        return Secret(shapes.text(client.adapter.post("/v1/sys/wrapping/unwrap"), "data", "secret_id"))
    except (InvalidRequest, Forbidden):
        raise StoreUnavailable(
            "vault_login",
            f"the wrapped secret id in {auth.secret_id_file} is used up or too old. If nobody of you used it, somebody "
            "else may have: destroy that secret id in Vault, then make a new one",
        ) from None
    finally:
        client.token = ""


def _remedy(auth: Auth) -> str:
    match auth:
        case TokenAuth():
            return f"the token in {auth.file} is not valid any more; put a new one there"
        case AppRoleAuth():
            return f"role id or secret id are not valid (any more); put a new secret id into {auth.secret_id_file}"
        case KubernetesAuth():
            return (
                f"it does not take our service-account token for the role {auth.role}: check audience, namespace and "
                "service account of that role"
            )
