"""Effects that end a key: deleted, probed until it is proven dead, entombed; and what nobody needs is cleared away.

The key in use is never deleted outside an incident, whatever the record of the rotation says, and no other before the
one that stays was looked at (`rotation.staying`). No tombstone is written over a key in use. What is seen of a key is
told here, and judged by `rotation.retire`: a refusal, by name or not, is worth what is served beside it
(`rotation.comparing`), and where a manager's list can be asked, the list decides. What was seen, where and when, is the
proof, and it is kept with the rotation.
"""

from functools import partial

from broker.db import accounts as account_store
from broker.db import findings
from broker.db import rotations as rotation_store
from broker.deeds import Deed
from broker.errors import NotFound
from broker.model import Death, KeyRef, Stage
from broker.service.host_guard import INSTANCE
from broker.service.rounds import Rounds
from clients.errors import VenueRefused
from clients.keys import Heard, Standing
from rotation.comparing import Comparing
from rotation.listing import look
from rotation.reach import Reach
from rotation.retire import (
    ALIVE,
    BLIND,
    LOST,
    NAMED,
    NAMED_ALONE,
    NO_LIST,
    UNASKED,
    UNNAMED,
    is_stated,
    is_word_alone,
)
from rotation.stamp import LastStamp
from rotation.state import Answer, Reply, Rotation, State
from rotation.staying import Staying


class Burial:
    """Ends keys."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._rounds = reach, Rounds()
        self._staying, self._comparing = Staying(reach), Comparing(reach)

    def delete(self, rotation: Rotation, version: int) -> Reply:
        """Delete a key at the venue; `rotation.stamp` says what it is signed with."""
        key = self._reach.version(rotation, version)
        with self._reach.manager(rotation) as desk:
            stamp = LastStamp(rotation, self._reach.fence(rotation), desk.now_us)
            if (no := self._staying.look(rotation, version)) is not None:
                return no
            desk.admin.delete(desk.subaccount, key.venue_key_id, stamp=stamp)
        return Reply(Answer.OK)

    def ask_delete(self, rotation: Rotation, version: int) -> Reply:
        """Ask a person to delete a key: the record says what (`rotation.sitting`), alerts say that."""
        no = self._staying.look(rotation, version)
        return no or Reply(Answer.OK, f"waits for a person: {rotation.account}/{rotation.slot.value}")

    def probe(self, rotation: Rotation, version: int) -> Reply:
        """Ask the venue with the key itself; where it is refused, look it up in the list, or ask with another one, too.

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
        seen, seen_us, standing = LOST, None, None
        if (heard := self._heard(rotation, version, key_id)) is not None:
            (standing, said, told), seen_us = heard
            seen = f"{told or said} at {self._now()}"
            if standing is Standing.ALIVE:
                return Reply(Answer.REFUSED, ALIVE, proof=seen)
            if standing is Standing.UNDECIDED:
                return Reply(Answer.UNKNOWN, said, proof=seen)
        if rotation.by_hand and account.manager is None:
            return self._compared(rotation, version, standing, seen, seen_us)
        try:
            with self._reach.manager(rotation) as desk:
                beside = self._comparing.beside(rotation, version)
                is_told = rotation.retirement is not None and rotation.retirement.told
                asks = partial(self._comparing.heard, rotation)
                listed = look(desk, key_id, beside, standing, asks, told=is_told)
                seen_us = desk.now_us()
        except VenueRefused as fault:
            no = f"{seen}; the exchange refuses the manager key its list ({fault.reason})"
            return Reply(Answer.UNKNOWN, NO_LIST, proof=no)
        proof = f"{seen}; {listed.said} at {self._now()}"
        if listed.reason == NAMED_ALONE:
            return self._compared(rotation, version, standing, proof, seen_us)
        return Reply(Answer.UNKNOWN, listed.reason, proof=proof, seen_us=seen_us)

    def _heard(self, rotation: Rotation, version: int, key_id: str) -> tuple[Heard, int] | None:
        """Ask the venue with the key itself; None where nobody can: its secret is lost, or signs nothing."""
        if not self._reach.has_secret(rotation, version):
            return None
        key = self._reach.credential(rotation, version, key_id)
        with self._reach.venues.probe(
            self._reach.account(rotation), haste=self._reach.haste(rotation)
        ) as probe:
            try:
                return probe.standing(key), probe.now_us()
            except ValueError:
                return None

    def _compared(
        self, rotation: Rotation, version: int, standing: Standing | None, seen: str, seen_us: int | None
    ) -> Reply:
        """Say what a refusal is worth where nothing lists the key.

        From an address that left the keys' lists, or in a ban, every key is refused: without its name, and by it. So
        neither is a sign of this key's death, but while another one is served by the same way.
        """
        if standing is None:  # nobody could ask: that is no refusal, and no other key tells anything of it
            return Reply(Answer.UNKNOWN, UNASKED, proof=seen)
        weighed = rotation.retirement is not None and rotation.retirement.stated
        if standing is not Standing.NAMED and not weighed:
            return Reply(Answer.UNKNOWN, UNNAMED, proof=seen, seen_us=seen_us)  # nobody's word is weighed yet
        by_name = standing is Standing.NAMED
        compared = self._comparing.look(rotation, version, beyond=by_name)
        told = "the exchange refused it by name on every host: " if by_name else ""
        proof = f"{told}{seen}; {compared.said}"
        if not compared.served and compared.known:
            return Reply(Answer.UNKNOWN, BLIND, proof=f"{proof}, so that says nothing of it")
        named = NAMED if compared.served else NAMED_ALONE
        reason = named if by_name else UNNAMED
        return Reply(Answer.UNKNOWN, reason, proof=proof, seen_us=seen_us)

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
            if not account_store.set_stage(
                connection, ref, Stage.TOMBSTONE, unless=never, key_id=key_id,
                death=Death.STATED if is_stated(proof) else Death.PROVEN,
            ):  # fmt: skip
                return Reply(Answer.REFUSED, f"{ref} is in use by now")
            now_us = self._reach.desk.clock.now_us()
            findings.end(connection, key_id, now_us)
            if is_word_alone(proof):
                findings.add(connection, _by_word(ref, key_id), now_us)
            self._reach.service.audit.record(
                connection, "key.dead", f"key-version:{ref}",
                {"rotation": rotation.id, "proof": proof, "stated": is_stated(proof)},
            )  # fmt: skip
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
        with self._reach.desk.database.read(at_primary=True) as connection:
            keys = account_store.keys(connection, ref.account)
            made_by = rotation_store.making(connection, ref)
        key = next((one for one in keys if one.ref == ref), None)
        if key is None or key.stage is not Stage.PENDING or key.venue_key_id:
            return
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
            BrokerError: One of them could not be cleared: see `broker.service.rounds`.
        """
        if self._reach.desk.guard.allows(Deed.BURY) is not None:
            return
        left = {
            key.ref.path: key.ref
            for key in self._reach.service.keys.list()
            if key.stage is Stage.PENDING and not key.venue_key_id
        }

        def work(path: str) -> bool:
            given_up = self._is_given_up(left[path])
            if given_up:
                self.clear(left[path])
            return given_up

        desk = self._reach.desk
        self._rounds.go(left, work, desk.clock.boot_us, lambda: desk.secrets.mirror.read(INSTANCE))

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


def _by_word(ref: KeyRef, key_id: str) -> findings.Finding:
    says = (
        f"{ref} counts as deleted by a person's word alone: its secret is lost, so nobody could ask the exchange. Look "
        f"once more whether it is listed there; delete it if so. Then confirm: portcullis reconcile --deleted {ref}"
    )
    return findings.Finding(ref.account, key_id, findings.BY_WORD, says, str(ref))
