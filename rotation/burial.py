"""Effects that end a key: deleted, probed until it is proven dead, entombed; and what nobody needs is cleared away.

The key in use is never deleted outside an incident, whatever the record of the rotation says, and no other before the
one that stays was looked at (`rotation.staying`). No tombstone is written over a key in use. A key is dead when the
venue was seen refusing it by name on every host, by the account's own way out, or when two lists do not have it. What
was seen, where and when, is the proof, and it is kept with the rotation. A person's word beside a refusal without a
name counts only while the key in use is served by the same way.
"""

from broker.db import accounts as account_store
from broker.db import findings
from broker.db import rotations as rotation_store
from broker.deeds import Deed
from broker.errors import BrokerError, NotFound
from broker.model import Account, KeyRef, Stage
from broker.service.secrets import OUTAGE_US
from clients.keys import Standing
from clients.venue import Credential
from rotation.reach import Reach
from rotation.retire import ABSENT, ALIVE, LISTED, UNNAMED
from rotation.state import Answer, Reply, Rotation, State
from rotation.staying import Staying


class Burial:
    """Ends keys."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._staying = Staying(reach)

    def delete(self, rotation: Rotation, version: int) -> Reply:
        """Delete a key at the venue, signed with the timestamp that was saved."""
        if rotation.stamp_us is None:
            raise RuntimeError("a delete is signed with a saved timestamp")
        key = self._reach.version(rotation, version)
        with self._reach.manager(rotation) as desk:
            if (no := self._staying.look(rotation, version)) is not None:
                return no
            desk.admin.delete(desk.subaccount, key.venue_key_id, timestamp_us=rotation.stamp_us)
        return Reply(Answer.OK)

    def ask_delete(self, rotation: Rotation, version: int) -> Reply:
        """Ask a person to delete a key: the record says what (`rotation.sitting`), alerts say that."""
        no = self._staying.look(rotation, version)
        return no or Reply(Answer.OK, f"waits for a person: {rotation.account}/{rotation.slot.value}")

    def probe(self, rotation: Rotation, version: int) -> Reply:
        """Ask the venue with the key itself; where that proves nothing, look it up in the list.

        While a person is asked to delete it, what is on record of the key that stays is looked at each time.
        """
        reply = self._probed(rotation, version)
        if (
            rotation.by_hand and reply.answer is Answer.REFUSED
        ):  # it lives: whoever is asked to delete it still may
            return self._staying.on_record(rotation, version) or reply
        return reply

    def _probed(self, rotation: Rotation, version: int) -> Reply:
        account, key_id = self._reach.account(rotation), self._reach.version(rotation, version).venue_key_id
        seen, seen_us = "its secret is lost, so it was not asked with", None
        if self._reach.has_secret(rotation, version):
            with self._reach.venues.probe(account, haste=self._reach.haste(rotation)) as probe:
                heard = probe.standing(self._reach.credential(rotation, version, key_id))
                seen_us = probe.now_us()
            seen = f"{heard.seen or heard.said} at {self._now()}"
            if heard.standing is Standing.DEAD:
                return Reply(Answer.OK, proof=f"the exchange refused it by name on every host: {seen}")
            if heard.standing is Standing.ALIVE:
                return Reply(Answer.REFUSED, ALIVE, proof=seen)
            if heard.standing is Standing.UNDECIDED:
                return Reply(Answer.UNKNOWN, heard.said, proof=seen)
        if rotation.by_hand:
            blind = self._is_blind(rotation, account, version)
            if blind:
                return Reply(
                    Answer.UNKNOWN, "nothing_served", proof=f"{seen}; {blind}, so that says nothing of it"
                )
            return Reply(Answer.UNKNOWN, UNNAMED, proof=seen, seen_us=seen_us)
        with self._reach.manager(rotation) as desk:
            listed, seen_us = desk.admin.find(desk.subaccount, key_id), desk.now_us()
        word = "does not have it" if listed is None else "has it"
        seen = f"{seen}; the list {word} at {self._now()}"
        return Reply(Answer.UNKNOWN, ABSENT if listed is None else LISTED, proof=seen, seen_us=seen_us)

    def _is_blind(self, rotation: Rotation, account: Account, version: int) -> str:
        """Say why a refusal without a name is no sign that a person deleted a key; empty where it may be one.

        From an address that left the keys' lists, or in a ban, every key is refused just so. Where one is in use, it
        has to be served by the same way at that moment.
        """
        if rotation.retirement is None or not rotation.retirement.stated:
            return ""  # nobody's word is weighed yet
        for one in self._reach.service.keys.list(account.name):
            if (
                one.ref.slot is not rotation.slot
                or one.stage is not Stage.CURRENT
                or one.ref.version == version
            ):
                continue
            with self._reach.venues.probe(account, haste=self._reach.haste(rotation)) as probe:
                secret = self._reach.desk.secrets.read(one.path)["secret"]
                heard = probe.standing(Credential(one.venue_key_id, secret, one.key_type))
            if heard.standing is not Standing.ALIVE:
                return (
                    f"{one.ref}, which is in use, is not served from here either ({heard.seen or heard.said})"
                )
        return ""

    def _now(self) -> str:
        return f"{self._reach.desk.clock.now():%Y-%m-%d %H:%M:%S}Z"

    def entomb(self, rotation: Rotation, version: int) -> Reply:
        """Write the tombstone, then destroy the secret. Outside an incident no key in use is called dead."""
        ref = self._reach.ref(rotation, version)
        proof = rotation.retirement.proof if rotation.retirement is not None else ""
        key_id = self._reach.version(rotation, version).venue_key_id
        never = () if rotation.halt is not None else (Stage.CURRENT,)
        with self._reach.fence(rotation).writing() as connection:
            self._reach.desk.guard.fence(connection, Deed.BURY)
            if not account_store.set_stage(connection, ref, Stage.TOMBSTONE, unless=never, key_id=key_id):
                return Reply(Answer.REFUSED, f"{ref} is in use by now")
            findings.end(connection, key_id, self._reach.desk.clock.now_us())
            self._reach.service.audit.record(
                connection, "key.dead", f"key-version:{ref}", {"rotation": rotation.id, "proof": proof}
            )
        self._destroy(ref)
        return Reply(Answer.OK)

    def clear(self, ref: KeyRef) -> None:
        """After a rotation that made no key: its pending version is a tombstone, and its pair is destroyed.

        What lies in its place and is another's stays: a database that was put back has forgotten whose.

        Raises:
            StoreUnavailable: A store cannot answer; done again later.
            Conflict: It may not be done here, or not now.
        """
        self._reach.desk.guard.ensure(Deed.BURY)
        key = next((one for one in self._reach.service.keys.list(ref.account) if one.ref == ref), None)
        if key is None or key.stage is not Stage.PENDING or key.venue_key_id:
            return
        with self._reach.desk.database.read() as connection:
            made_by = rotation_store.making(connection, ref)
        if made_by is not None and made_by.held:
            return  # given up after a restore: its key may have been made since, and be the one in use
        if self._is_of("" if made_by is None else made_by.id, key.ref):
            self._destroy(key.ref)
        living = (Stage.CURRENT, Stage.PREVIOUS)
        with self._reach.desk.database.write() as connection:
            account_store.set_stage(connection, key.ref, Stage.TOMBSTONE, unless=living, key_id="")

    def clear_up(self) -> None:
        """Clear away what rotations left that were given up, and whose rotator died before it did.

        Raises:
            BrokerError: One of them could not be cleared; it is tried again later, and the others were.
        """
        if self._reach.desk.guard.allows(Deed.BURY) is not None:
            return
        last: BrokerError | None = None
        for key in self._reach.service.keys.list():
            if key.stage is not Stage.PENDING or key.venue_key_id:
                continue
            began_us = self._reach.desk.clock.boot_us()
            try:
                if self._is_given_up(key.ref):
                    self.clear(key.ref)
            except BrokerError as fault:
                if self._reach.desk.clock.boot_us() - began_us > OUTAGE_US:
                    raise  # the store is away: each of the others would wait as long
                last = fault  # the others are not its matter
        if last is not None:
            raise last

    def _is_given_up(self, ref: KeyRef) -> bool:
        with self._reach.desk.database.read() as connection:
            made_by = rotation_store.making(connection, ref)
        ended = {State.ABANDONED, State.HALTED}
        return made_by is not None and not made_by.held and State(made_by.state) in ended

    def _is_of(self, rotation: str, ref: KeyRef) -> bool:
        """Tell whether a version's secret is what a rotation prepared; labels come last, so without them it is."""
        try:
            labels = self._reach.desk.secrets.metadata(ref.path)
        except NotFound:
            return False
        return not labels or labels.get("rotation") == rotation

    def _destroy(self, ref: KeyRef) -> None:
        try:
            self._reach.desk.secrets.destroy(ref.path)
        except NotFound:
            return
