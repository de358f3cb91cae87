"""What lies at one path of a secret store: values by name. One that is missing is an error of the store's.

A secret is lost where a store says so by one of the reasons in `LOST`: nothing lies there, or what does is none to sign
with. Waiting brings none of them back, and nothing is written over them: a person acts. Every other reason is a store
that cannot answer now.
"""

from collections.abc import Mapping
from typing import NoReturn

from broker.errors import BrokerError, StoreUnavailable
from broker.ports import SecretStore
from clients.secret import Secret

LOST = frozenset({"no_secret", "destroyed", "incomplete", "tampered", "vault_deleted"})
"""Why a secret is lost: nothing was written, it was destroyed, it is without its value, it does not open, or somebody
deleted it in Vault by hand."""

EGRESS_LOST = "egress_lost"
"""The reason of an error where what is lost is the password of a way out: nothing was asked by it, and that is no word
on any key."""


class Held(dict[str, Secret]):
    """The values; who asks for one that should be there and is not is told so, by the path."""

    def __init__(self, path: str, values: Mapping[str, Secret]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, name: str) -> NoReturn:
        raise StoreUnavailable(
            "incomplete",
            f"what lies at {self._path} in the secret store has no {name}: look who wrote it there",
        )


def is_lost(fault: Exception) -> bool:
    """Tell whether an error says that a secret is lost."""
    return isinstance(fault, BrokerError) and fault.reason in LOST


def why_lost(secrets: SecretStore, path: str, name: str = "secret") -> BrokerError | None:
    """Say why nobody can sign with what lies at a path; None where one can. `name` is that of the value.

    Raises:
        StoreUnavailable: The store cannot answer now.
    """
    try:
        secrets.read(path)[name]
    except BrokerError as fault:
        if not is_lost(fault):
            raise
        return fault
    return None
