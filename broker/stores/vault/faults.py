"""What Vault's refusals and silences mean, each with one reason and what to do.

hvac and requests put URL, headers and bodies into their exceptions: they end here, without cause.

An answer is Vault's where it has the whole of Vault's form (`form`). Whoever stands in front of it (an ingress, a load
balancer, a firewall) says 404, 403 and 200 too, and none of that is a word of the store's.
"""

import json

import requests
from hvac import exceptions as hvac

from broker.errors import BrokerError, NotFound, StoreConflict, StoreUnavailable
from broker.stores.vault import form, shapes
from clients.bounds import SentTooMuch, TookTooLong

ELSEWHERE = frozenset(
    {
        "vault_sealed", "vault_standby", "vault_unreachable", "vault_slow", "vault_not_initialised", "vault_failed",
        "vault_odd",
    }
)  # fmt: skip
"""Reasons for which another node may answer: the store itself gave none."""

_NOT_THIS_NODE = (
    "local node not active", "active cluster node not found", "vault is in standby mode",
    "replication dr secondary",
)  # fmt: skip
"""What a node says that stands by, or copies another cluster, and cannot send on what it was asked."""

_LOOKS = frozenset({"GET", "LIST"})
"""What is asked so has an answer with a body."""


class Stranger(Exception):
    """What answered is not Vault."""


class NotActive(Exception):
    """A node answered that cannot, and says so in whatever status it has."""


def refuse_stranger(response: requests.Response, *_: object, **__: object) -> None:
    """Hook of the HTTP session, after `refuse_redirect`: see `Stranger` and `NotActive`.

    Here, so that whoever reads a refusal (the login reads 400 and 403) never sees one that is none.
    """
    if response.status_code == form.NO_BODY and response.request.method not in _LOOKS:
        return
    try:
        said = response.json()
    except (ValueError, RecursionError):
        said = None
    if not form.is_vaults(response.status_code, said):
        response.close()
        raise Stranger
    errors = str(said.get("errors", "")).lower()
    if any(word in errors for word in _NOT_THIS_NODE):
        raise NotActive


class Redirected(Exception):
    """A node sent us to another one: it is a standby that does not forward. A token is never sent after it."""


def refuse_redirect(response: requests.Response, *_: object, **__: object) -> None:
    """Hook of the HTTP session: see `Redirected`."""
    if response.is_redirect or response.is_permanent_redirect:
        response.close()
        raise Redirected


def translated(fault: Exception, what: str, address: str) -> BrokerError:
    """Return our error for theirs.

    Args:
        fault: What hvac or requests raised.
        what: What we were about, as in `read keys/main/trade/1`.
        address: The node that was asked.
    """
    said = _said(fault)
    match fault:
        case Redirected():
            return StoreUnavailable(
                "vault_standby",
                f"Vault at {address} is a standby that does not forward; name the active node, or all of them",
            )
        case Stranger():
            return StoreUnavailable(
                "vault_failed",
                f"what answers at {address} is not Vault, but in front of it ({what}); whether it was done is unknown",
            )
        case shapes.Odd():
            return StoreUnavailable(
                "vault_odd",
                f"what Vault at {address} answered has not the form of its answers ({what}: {fault} was expected); "
                "whether it was done is unknown. Look who wrote there, and what stands in front of it",
            )
        case NotActive():
            return StoreUnavailable(
                "vault_standby", f"Vault at {address} is not active and cannot answer ({what})"
            )
        case requests.exceptions.SSLError():
            return StoreUnavailable(
                "vault_tls",
                f"Vault at {address} does not prove who it is, or does not take our certificate: "
                "check vault.ca_file, vault.client_cert and the host name",
            )
        case requests.exceptions.Timeout() | TookTooLong():
            return StoreUnavailable(
                "vault_slow", f"Vault at {address} took too long ({what}); whether it was done is unknown"
            )
        case SentTooMuch():
            return StoreUnavailable(
                "vault_unreachable",
                f"what answers at {address} is not Vault ({what}: {fault}); whether it was done is unknown",
            )
        case requests.exceptions.RequestException():
            return StoreUnavailable(
                "vault_unreachable",
                f"Vault at {address} cannot be reached ({what}); is it running, is the way open?",
            )
        case hvac.VaultNotInitialized():
            return never_initialised(address)
        case hvac.VaultDown():
            if "sealed" in said:
                return StoreUnavailable(
                    "vault_sealed", f"Vault at {address} is sealed: `vault operator unseal`"
                )
            return StoreUnavailable(
                "vault_standby", f"Vault at {address} is not active and cannot answer ({what})"
            )
        case hvac.Forbidden() | hvac.Unauthorized():
            return StoreUnavailable(
                "vault_forbidden",
                f"Vault does not let our role {what}; `portcullis vault check` shows what it lacks",
            )
        case hvac.InvalidPath():
            if "no handler" in said:
                return wrong_mount(what)
            if not _is_nothing(fault):
                return StoreUnavailable(
                    "vault_failed",
                    f"Vault at {address} does not say that there is nothing to {what}, nor what is",
                )
            return NotFound("no_secret", f"there is nothing to {what}")
        case hvac.RateLimitExceeded():
            return StoreUnavailable(
                "vault_rate", f"Vault limits our rate ({what}); raise the quota of our role"
            )
        case hvac.InvalidRequest():
            if "check-and-set" in said:
                return StoreConflict("written", f"somebody else wrote first ({what})")
            if "no handler" in said or "unsupported path" in said:
                return wrong_mount(what)
            return StoreUnavailable(
                "vault_refused", f"Vault does not understand: {what}; is it KV version 2?"
            )
        case _:
            return StoreUnavailable(
                "vault_failed", f"Vault at {address} failed ({what}): its own log says why"
            )


def never_initialised(address: str) -> StoreUnavailable:
    """Return the error for a Vault that is new."""
    return StoreUnavailable(
        "vault_not_initialised", f"Vault at {address} was never initialised: `vault operator init`"
    )


def wrong_mount(what: str) -> StoreUnavailable:
    """Return the error for a path under which nothing is mounted."""
    return StoreUnavailable(
        "vault_wrong_mount",
        f"nothing is mounted there ({what}): check vault.mount, or mount it with `portcullis vault setup`",
    )


def _is_nothing(fault: hvac.InvalidPath) -> bool:
    """Tell whether a 404 is Vault's word that nothing is there, or that it was deleted."""
    try:
        said = json.loads(fault.text or "")
    except (ValueError, RecursionError):
        return False
    return form.is_nothing(said)


def _said(fault: Exception) -> str:
    """Return what Vault said, in lower case; only to tell cases apart."""
    errors = getattr(fault, "errors", None) or ()
    return " ".join(str(one) for one in errors).lower()
