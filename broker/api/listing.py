"""What a manager key's list of a sub-account says, for routes that put keys and accounts there."""

import logging

from broker.api.context import Context
from broker.errors import BrokerError, Conflict
from broker.model import Account, KeyVersion
from broker.service.whose import Heard
from clients.errors import VenueError, VenueRefused
from clients.keys import VenueKey
from clients.venue import Credential

_LOG = logging.getLogger("portcullis.api")


def listed(given: Context, manager: str, subaccount: str) -> tuple[VenueKey, ...] | None:
    """Ask for the keys of a sub-account; None where there is no such.

    Raises:
        VenueError: The venue could not be asked.
        BrokerError: There is no such manager key, or its secret cannot be read.
    """
    service = given.service
    known = service.managers.get(manager)
    egress = service.accounts.egress(known.egress)
    return given.warden.listed(known, egress, service.managers.credential(known), subaccount)


def refuse_unlisted(given: Context, account: Account, key_id: str) -> None:
    """Refuse a key that is new here and not in the list of the sub-account that its account is put under.

    A list that cannot be had bars nothing: a key may be all that leads on.

    Raises:
        Conflict: The list does not have it.
    """
    if account.manager is None or account.subaccount is None:
        return
    if any(key.venue_key_id == key_id for key in given.service.keys.list()):
        return
    there: tuple[VenueKey, ...] | None = None
    try:
        there = listed(given, account.manager, account.subaccount)
    except (VenueError, BrokerError):
        return
    except Exception as fault:  # noqa: BLE001 - it bars nothing either; its text may quote
        _LOG.critical(
            "the keys of %s could not be listed: failed unforeseen (%s)", account.name, _kind(fault)
        )
        return
    if there is not None and all(key.key_id != key_id for key in there):
        raise Conflict(
            "other_account",
            f"the exchange does not list this key under {account.subaccount}, which {account.name} is put under; "
            "nothing was stored. One that was made this moment is listed within a minute: then again. Else put the "
            f"account under the key's own sub-account first: portcullis account manage {account.name} --manager "
            f"{account.manager} --subaccount EMAIL; where another account has that one here, or it is under no manager "
            f"key that you have, release this one: portcullis account release {account.name}",
        )


def heard(given: Context, key: KeyVersion) -> Heard:
    """Ask the venue with a key."""
    service = given.service
    try:
        account = service.accounts.get(key.ref.account)
        values = service.desk.secrets.read(key.path)
        credential = Credential(key.venue_key_id, values["secret"], key.key_type, values.get("passphrase"))
        given.inspector.inspect(account, service.accounts.egress(account.egress), credential)
    except VenueRefused as fault:
        return Heard.NAMED if fault.reason == "unknown_key" else Heard.NOTHING
    except (VenueError, BrokerError):
        return Heard.NOTHING
    except Exception as fault:  # noqa: BLE001 - a key that cannot be asked about decides nothing; its text may quote
        _LOG.critical("%s could not be asked about: failed unforeseen (%s)", key.ref, _kind(fault))
        return Heard.NOTHING
    return Heard.SERVED


def _kind(fault: Exception) -> str:
    return type(fault).__name__
