"""Whether a key that a person names by its id is the one that a rotation made: a name is no identity.

What is taken for ours is verified, used, and deleted where it is not as ordered. So it carries the rotation's label in
the exchange's list, or our secret signs for it. Any other is left to the person, whoever made it.
"""

from broker.errors import Conflict
from broker.model import KeyRef
from broker.service import Service
from broker.stores.held import why_lost
from clients.errors import VenueRefused
from clients.venue import Credential
from rotation.budget import Haste
from rotation.state import Rotation
from rotation.venues import Venues


def refuse_known(service: Service, rotation: Rotation, key_id: object) -> None:
    """Refuse the id of a key that is on record as another version: it would be verified, used, and then deleted.

    Raises:
        Conflict: It is.
    """
    for key in service.keys.list():
        own = key.ref == KeyRef(rotation.account, rotation.slot, rotation.new)
        if key_id and key.venue_key_id == key_id and not own:
            raise Conflict(
                "key_known",
                f"this is the id of {key.ref}, not of the key that {rotation.id} makes: copy the id of the key "
                f"with the label {rotation.label}",
            )


def refuse_anothers(service: Service, venues: Venues, rotation: Rotation, key_id: str) -> None:
    """Refuse a key that is not shown to be the one that a rotation made.

    Raises:
        Conflict: It has not its label, and our secret does not sign for it.
        VenueError: The exchange does not say.
    """
    if not (_signs(service, venues, rotation, key_id) or _is_labelled(service, venues, rotation, key_id)):
        raise Conflict(
            "not_ours",
            f"nothing shows that {rotation.id} made this key: its label is not {rotation.label}, and no secret of ours "
            "signs for it. It is left alone: whoever made it deletes it at the exchange. Compare the id; "
            f"where no key with the label is there: portcullis rotation resume {rotation.id} --no-key",
        )


def _is_labelled(service: Service, venues: Venues, rotation: Rotation, key_id: str) -> bool:
    if not rotation.listed or rotation.by_hand:
        return False
    account = service.accounts.get(rotation.account)
    with venues.desk(account, haste=Haste.URGENT, needs=("list",)) as desk:
        listed = desk.admin.list(desk.subaccount)
    return any(key.key_id == key_id and key.label == rotation.label for key in listed)


def _signs(service: Service, venues: Venues, rotation: Rotation, key_id: str) -> bool:
    ref = KeyRef(rotation.account, rotation.slot, rotation.new)
    if why_lost(service.desk.secrets, ref.path) is not None:
        return False
    secret = service.desk.secrets.read(ref.path)["secret"]
    with venues.probe(service.accounts.get(rotation.account), haste=Haste.URGENT) as probe:
        try:
            probe.restrictions(Credential(key_id, secret, rotation.key_type))
        except VenueRefused:
            return False
    return True
