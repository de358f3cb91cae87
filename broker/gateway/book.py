"""What a gateway knows: gates, leases, key material, policies, purses. Changed only by frames; no I/O.

Rules:
1. Everything is looked up in place: a changed gate counts for the very next request, without walking leases.
2. A lease without its material, its policy or its gates serves nothing.
3. What is known of virtual keys without a lease is in `unleased`.
4. What the broker counts (epochs, versions of policies, rules) is compared within one history of the record. Where
   another one begins, leases and all that was counted end, and what was closed stays closed (`broker.gates`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from broker import gate, lease, policy_document
from broker.budget import Parts, Purse
from broker.gate import Mode, Shut
from broker.gate_news import Whole
from broker.gates import Gates
from broker.gateway.fills import RecentFills
from broker.gateway.flights import Flights
from broker.gateway.limits import OrderRate
from broker.gateway.sales import Stakes
from broker.gateway.told import closing_of, egress_of, gate_of
from broker.gateway.unleased import Unleased
from broker.gateway.users import Users
from broker.lease import Lease
from broker.link import frames
from broker.model import KeyRef
from broker.policy_document import Policy
from clients.egress import Egress
from clients.venue import Credential, KeyType, Verifier
from clients.wire import Wire

UNSURE = "unsure"
"""Closing of what a frame may have closed that could not be read or applied."""

IDLE_US = 120_000_000


@dataclass(slots=True)
class Standing:
    """What a gateway keeps for one grant, whatever lease it runs on; `leases` are those it has now."""

    purse: Purse = field(default_factory=Purse)
    rate: OrderRate = field(default_factory=OrderRate)
    slice_usual: Decimal = Decimal(0)
    rules: int = 0
    policy_version: int = 0
    stakes: Stakes = field(default_factory=Stakes)
    leases: "dict[str, Held]" = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Held:
    """One lease, with all that is needed to serve it."""

    lease: Lease
    key_text: str
    key_id: str
    consumer: str
    account: str
    venue: str
    policy: Policy
    policy_version: int
    account_owner: bool
    verifier: Verifier
    wire: Wire
    egress: Egress
    upstream: str
    standing: Standing
    used_us: int
    last_us: int = 0
    sole: bool = False


class Book:
    """All of it, for one gateway."""

    def __init__(self, wires: dict[str, Wire]) -> None:
        self._wires = wires
        self._gates = Gates()
        self.gates = self._gates.now
        self.by_key: dict[str, Held] = {}
        self.by_lease: dict[str, Held] = {}
        self.material: dict[str, Credential] = {}
        self.standing: dict[str, Standing] = {}
        self.flights = Flights()
        self.unsure: set[str] = set()
        self.recent = RecentFills()
        self.users = Users()
        self._void: Parts = ()
        self.wanted: frozenset[str] = frozenset()
        self._unleased = Unleased()

    # --- gates ----------------------------------------------------------------------------

    @property
    def history(self) -> str:
        """Which history of the record is told here."""
        return self._gates.history

    def is_of(self, history: str) -> bool:
        """Tell whether what was counted in a history can be compared with what is known here."""
        return history == self._gates.history

    def set_gates(
        self, states: Iterable[frames.GateState], over: Iterable[str] = (), history: str = ""
    ) -> bool:
        """Take gates in as they are now, then end closings; one that is older than ours is passed over.

        Returns:
            Whether they are in force. Those of another history are not: they close, open nothing, and end nothing.
        """
        return not self._gates.take([gate_of(state, history) for state in states], over).foreign

    def close_now(self, part: frames.ClosingPart) -> None:
        """Close scopes for a cut that is not on record yet."""
        self._gates.close(closing_of(part))

    def shut(self, scopes: Iterable[str]) -> None:
        """Close scopes until every gate is told anew: a change of theirs could not be taken in."""
        shut = set(scopes)
        self.unsure |= shut
        self._gates.shut(UNSURE, shut)

    def set_all_gates(
        self, states: Iterable[frames.GateState], closings: tuple[frames.ClosingPart, ...] = (),
        history: str = "", over: Iterable[str] = (), kept: tuple[frames.ClosingPart, ...] = (),
    ) -> bool:  # fmt: skip
        """Take every gate in as it is now, and every closing; what was shut for want of knowledge is what it is.

        Returns:
            Whether they are in force; not those of a history that is known to be older than ours.
        """
        before = self._gates.history
        gates = tuple(gate_of(state, history) for state in states)
        whole = Whole(
            history, gates, tuple(map(closing_of, closings)), tuple(map(closing_of, kept)), tuple(over)
        )
        if not self._gates.begin_or_go_on(whole, (UNSURE,)):
            return False
        if before not in {"", history}:
            self._forget_history()
        self.unsure.clear()
        return True

    @property
    def stands_above(self) -> bool:
        """Whether anything is closed here above what the record has closed."""
        return self._gates.stands_above

    def _forget_history(self) -> None:
        """Let go of all that was counted in the history before: leases, versions, rules, budget."""
        for lease_id, held in list(self.by_lease.items()):
            held.lease = replace(held.lease, expires_us=-(2**62))  # a request on its way may still hold it
            self.drop(lease_id)
        for standing in self.standing.values():
            self._void += standing.purse.close(0, everything=True)
            standing.rules = standing.policy_version = 0
        self._unleased.forget()

    def succeed(self, successors: tuple[frames.Successor, ...]) -> None:
        """Let leases go on under new epochs; their end does not move."""
        for successor in successors:
            held = self.by_lease.get(successor.lease)
            if held is not None and len(successor.epochs) == len(held.lease.chain):
                held.lease = replace(held.lease, epochs=successor.epochs)

    def judge(self, held: Held) -> Mode | Shut:
        """Ask the gates whether this lease may be served now."""
        return gate.judge(self.gates, held.lease.chain, held.lease.epochs)

    # --- leases ---------------------------------------------------------------------------

    def grant(self, frame: frames.LeaseGranted, sent_us: int) -> Held | None:
        """Take a lease in; None where this gateway cannot speak its venue or has no material."""
        wire = self._wires.get(frame.venue)
        if wire is None or frame.key not in self.material or not self.is_of(frame.history):
            return None
        policy = policy_document.load(frame.policy)
        standing = self.standing.setdefault(frame.grant, Standing())
        self._under(standing, frame, sent_us)
        part = frame.verifier
        held = Held(
            Lease(
                frame.lease,
                frame.grant,
                KeyRef.parse(frame.key),
                frame.chain,
                frame.epochs,
                lease.expiry_us(sent_us, frame.ttl_us),
                policy.exits_after_end_us,
            ),
            frame.key,
            frame.key_id,
            frame.consumer,
            frame.account,
            frame.venue,
            policy,
            frame.policy_version,
            frame.account_owner,
            Verifier(KeyType(part.key_type), part.secret, part.public_key),
            wire,
            egress_of(frame.egress),
            frame.upstream,
            standing,
            sent_us,
            sole=frame.sole,
        )
        old = self.by_key.get(frame.key_id)
        if old is not None:
            self.drop(old.lease.id)
        self.by_key[frame.key_id] = held
        self.by_lease[frame.lease] = held
        self._unleased.lease(frame.key_id, frame.key, frame.chain)
        standing.leases[frame.lease] = held
        if frame.slice is not None:
            self._take_first(standing, frame.slice, sent_us)
        return held

    def renew(self, frame: frames.Renewed, sent_us: int | None) -> None:
        """Take new ends in; leases that the broker voided are gone. What was asked nobody knows when prolongs none."""
        for lease_id, ttl_us in frame.ttls:
            held = self.by_lease.get(lease_id)
            if held is not None and sent_us is not None:
                held.lease = lease.renewed(held.lease, sent_us, ttl_us)
        for lease_id, _ in frame.voided:
            self.drop(lease_id)

    def drop(self, lease_id: str) -> None:
        """Forget one lease."""
        held = self.by_lease.pop(lease_id, None)
        if held is None:
            return
        held.standing.leases.pop(lease_id, None)
        if self.by_key.get(held.key_id) is held:
            del self.by_key[held.key_id]
            self._unleased.leave(held.key_id, held.key_text)

    def drop_all(self) -> None:
        """Forget every lease: nothing is served here any more."""
        for lease_id in tuple(self.by_lease):
            self.drop(lease_id)

    def drop_grant(self, grant: str) -> tuple[str, ...]:
        """Forget every lease of a grant; return them."""
        gone = tuple(name for name, held in self.by_lease.items() if held.lease.grant == grant)
        for lease_id in gone:
            self.drop(lease_id)
        return gone

    def drop_key(self, key: str) -> tuple[str, ...]:
        """Forget every lease on a key version; return them."""
        gone = tuple(name for name, held in self.by_lease.items() if held.key_text == key)
        for lease_id in gone:
            self.drop(lease_id)
        return gone

    def idle(self, now_us: int) -> tuple[str, ...]:
        """Return the leases nobody used for a while, but for those of virtual keys that are ours to serve."""
        return tuple(
            name
            for name, held in self.by_lease.items()
            if now_us - held.used_us > IDLE_US and held.key_id not in self.wanted
        )

    def change_policy(self, frame: frames.PolicyChanged) -> bool:
        """Take a policy in as it is now; tell whether it is in force, which one of another history is not."""
        if not self.set_gates(frame.gates, history=frame.history) or not self.is_of(frame.history):
            return False
        policy = policy_document.load(frame.policy)
        for held in self.by_lease.values():
            if held.lease.grant == frame.grant and frame.policy_version >= held.policy_version:
                held.policy, held.policy_version = policy, frame.policy_version
                held.account_owner, held.sole = frame.account_owner, frame.sole
                self._under(held.standing, frame, held.used_us)
        self.succeed(frame.successors)
        return True

    # --- budget ---------------------------------------------------------------------------

    def _under(
        self, standing: Standing, frame: frames.LeaseGranted | frames.PolicyChanged, now_us: int
    ) -> None:
        """Take in under which rules budget is lent now: what was lent under older ones is void from here on."""
        known, new = (standing.rules, standing.policy_version), (frame.rules, frame.policy_version)
        if new < known:
            return
        if new != known:
            self._void += standing.purse.close(now_us, everything=True)
        standing.rules, standing.policy_version = new
        standing.slice_usual = frame.slice_usual

    def _take_first(self, standing: Standing, part: frames.SlicePart, sent_us: int) -> None:
        """Take in the slice that a lease brought; where enough is left of those before it, it goes back as it is."""
        if standing.purse.wants(standing.slice_usual, sent_us):
            self.take_slice(standing, part, sent_us)
        else:
            self._void += ((part.id, part.amount),)

    def consumer_of(self, grant: str) -> str:
        """Return whose bot has a grant; empty where no lease of it is here."""
        standing = self.standing.get(grant)
        return "" if standing is None else next((held.consumer for held in standing.leases.values()), "")

    def serves(self, standing: Standing) -> bool:
        """Tell whether the gates let any lease of a grant be served."""
        return any(not isinstance(self.judge(held), Shut) for held in standing.leases.values())

    def take_slice(self, standing: Standing, part: frames.SlicePart, sent_us: int) -> None:
        """Take a slice in; one that was lent under older rules, or came behind a cut, goes back as it is."""
        if part.rules < standing.rules or not self.serves(standing):
            self._void += ((part.id, part.amount),)
        else:
            standing.purse.add(part.id, part.amount, sent_us)

    def voided(self) -> Parts:
        """Return what has to be given back to the broker, once."""
        parts, self._void = self._void, ()
        return parts

    # --- material -------------------------------------------------------------------------

    def learn(self, frame: frames.Material) -> None:
        """Take a real key in."""
        self.material[frame.key] = Credential(
            frame.key_id, frame.secret, KeyType(frame.key_type), frame.passphrase
        )

    def cut_over(self, frame: frames.Cutover) -> tuple[str, ...]:
        """Let leases go on with another key version; return those that cannot, and are gone.

        Nothing is signed with the old version afterwards. Where the new one's material never came none goes on.
        """
        ref = KeyRef.parse(frame.new)
        for moved in frame.leases if frame.new in self.material else ():
            held = self.by_lease.get(moved.lease)
            if held is not None and self._cut(held):
                continue  # what is cut does not go on by being moved
            if held is not None and len(moved.chain) == len(moved.epochs):
                held.lease = replace(held.lease, key=ref, chain=moved.chain, epochs=moved.epochs)
                held.key_text = frame.new
        return self.drop_key(frame.old)

    def _cut(self, held: Held) -> bool:
        shut = self.judge(held)
        return isinstance(shut, Shut) and shut.reason == "cut"

    def wipe(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Forget real keys; return their ids at the venue, for parsed copies to go too."""
        gone = []
        for key in keys:
            key_id = self.forget_key(key)
            if key_id is not None:
                gone.append(key_id)
        return tuple(gone)

    def forget_key(self, key: str) -> str | None:
        """Forget one real key, and the leases on it; return its id at the venue."""
        credential = self.material.pop(key, None)
        self._unleased.wipe(key, (held.key_id for held in self.by_lease.values() if held.key_text == key))
        self.drop_key(key)
        return None if credential is None else credential.key_id

    # --- cut without a lease ----------------------------------------------------------------

    def stand(self, scopes: dict[str, tuple[str, ...]]) -> None:
        """Take in where every virtual key stands that this gateway serves."""
        self._unleased.stand(scopes, self.by_key)

    def was_cut(self, key_id: str) -> bool:
        """See `Unleased.was_cut`."""
        return self._unleased.was_cut(self.gates, key_id)

    # --- refusals -------------------------------------------------------------------------

    def refuse(self, frame: frames.LeaseRefused, now_us: int) -> None:
        """Remember that the broker gives no lease on a key id; of a key that is no more, the old lease goes too."""
        key_id = frame.key_id
        if frame.reason in {"revoked", "unknown_key"} and key_id in self.by_key:
            self.drop(self.by_key[key_id].lease.id)
        self._unleased.refuse(frame, now_us)

    def refused(self, key_id: str, now_us: int) -> str | None:
        """See `Unleased.refused`."""
        return self._unleased.refused(self.gates, key_id, now_us)

    def whose(self, key_id: str | None) -> tuple[str, str, str] | None:
        """Return grant, consumer and account of a key that is leased or was refused a lease, for the call log."""
        held = None if key_id is None else self.by_key.get(key_id)
        if held is not None:
            return held.lease.grant, held.consumer, held.account
        return None if key_id is None else self._unleased.whose(key_id)
