"""A venue, a database and gateways as one rotation sees them, in memory and able to lie; time moves by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from clients.keys import Permissions
from clients.venue import KeyType, Slot
from rotation.possible import may_give_up
from rotation.retire import ABSENT, ALIVE, GONE, LISTED, NAMED, NOT_DELETED
from rotation.state import (
    Answer,
    Do,
    Effect,
    Event,
    Incident,
    Reply,
    Restarted,
    Resume,
    RollBack,
    Rotation,
    State,
    Step,
    Tick,
)

BEGAN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
Decide = Callable[[Rotation, Event, datetime], Step]


class Fate(StrEnum):
    """What becomes of one effect."""

    WELL = "well"
    LOST = "lost"  # it took effect, the answer did not come
    LATE = "late"  # the answer did not come, and it takes effect later, inside its window
    NOTHING = "nothing"  # the answer did not come, and it never takes effect
    RETRY = "retry"
    REFUSED = "refused"
    LIED = "lied"  # accepted, and not applied
    KILLED_BEFORE = "killed-before"
    KILLED_AFTER = "killed-after"


@dataclass
class VenueKey:
    """One key at the venue. It works from `born_at`; the list shows it, and its absence, later."""

    label: str
    born_at: datetime
    gone_at: datetime | None = None

    def works(self, now: datetime) -> bool:
        return self.born_at <= now and (self.gone_at is None or now < self.gone_at)

    def is_listed(self, now: datetime, lag: timedelta) -> bool:
        return self.born_at + lag <= now and (self.gone_at is None or now < self.gone_at + lag)


@dataclass
class World:
    """Everything a rotation can touch."""

    labels: bool = True
    lag: timedelta = timedelta(0)
    bad: bool = False
    probing: bool = True
    alone: bool = False  # no manager key lists its keys
    now: datetime = BEGAN
    keys: dict[str, VenueKey] = field(default_factory=dict)
    key_of: dict[int, str] = field(default_factory=dict)
    private: set[int] = field(default_factory=set)
    tombs: set[int] = field(default_factory=set)
    current: int = 1
    incident: bool = False
    leases: dict[int, datetime] = field(default_factory=dict)
    made: int = 0
    lost: set[int] = field(default_factory=set)
    deletes: list[int] = field(default_factory=list)
    verified: bool = False
    fate: Fate = Fate.WELL

    def __post_init__(self) -> None:
        self.keys["K1"] = VenueKey("by hand", BEGAN - timedelta(days=90))
        self.key_of[1] = "K1"
        self.private.add(1)
        self.leases[1] = BEGAN + timedelta(seconds=15)

    def working(self) -> set[str]:
        return {name for name, key in self.keys.items() if key.works(self.now)}

    def perform(self, rotation: Rotation, effect: Effect, fate: Fate) -> Reply:
        """Do one thing as fate has it; a kill is told by the caller."""
        if fate is Fate.RETRY:
            return Reply(Answer.RETRY, "rate_limited")
        if fate is Fate.REFUSED and effect.do in {
            Do.PREPARE,
            Do.CREATE,
            Do.VERIFY,
            Do.CANARY,
            Do.DELETE,
            Do.FIND,
        }:
            return Reply(Answer.REFUSED, "not_permitted")
        if fate in {Fate.NOTHING, Fate.KILLED_BEFORE}:
            return Reply(Answer.UNKNOWN, "timed_out")
        self.fate = fate
        reply = getattr(self, "_" + effect.do.value.replace("-", "_"))(rotation, effect.version)
        assert isinstance(reply, Reply)
        return Reply(Answer.UNKNOWN, "timed_out") if fate in {Fate.LOST, Fate.LATE} else reply

    def _prepare(self, rotation: Rotation, _: object) -> Reply:
        if rotation.key_type is not KeyType.HMAC:
            self.private.add(rotation.new)
        return Reply(Answer.OK, has_private=rotation.new in self.private)

    def _read_clock(self, *_: object) -> Reply:
        return Reply(Answer.OK, venue_us=int(self.now.timestamp() * 1_000_000))

    def _create(self, rotation: Rotation, _: object) -> Reply:
        self.made += 1
        name = f"N{self.made}"
        late = rotation.limits.window_for if self.fate is Fate.LATE else timedelta(0)
        self.keys[name] = VenueKey(rotation.label, self.now + late)
        self.key_of[rotation.new] = name
        if self.fate is Fate.WELL:
            self.private.add(rotation.new)
        return Reply(Answer.OK, key_id=name, has_private=True)

    def _find(self, rotation: Rotation, _: object) -> Reply:
        if not self.labels:
            return Reply(Answer.REFUSED, "this venue's keys carry no label")
        for name, key in self.keys.items():
            if key.label == rotation.label and key.is_listed(self.now, self.lag):
                return Reply(Answer.OK, key_id=name, has_private=rotation.new in self.private)
        assert rotation.created_us is not None
        signed_at = datetime.fromtimestamp(rotation.created_us / 1_000_000, UTC)
        if self.now <= signed_at + rotation.limits.window_for + rotation.limits.settling_for:
            return Reply(Answer.UNKNOWN, "too early to tell")
        return Reply(Answer.OK)

    def _verify(self, rotation: Rotation, _: object) -> Reply:
        if rotation.new_key_id not in self.working():
            return Reply(Answer.UNKNOWN, "key_refused")
        if self.bad:
            return Reply(Answer.REFUSED, "withdraw is on")
        self.verified = True
        return Reply(Answer.OK)

    def _canary(self, rotation: Rotation, _: object) -> Reply:
        self.leases[rotation.new] = self.now + timedelta(seconds=15)
        return Reply(Answer.OK)

    def _move(self, rotation: Rotation, _: object) -> Reply:
        self.current = rotation.new
        return Reply(Answer.OK)

    def _move_back(self, rotation: Rotation, _: object) -> Reply:
        assert rotation.old is not None
        self.current = rotation.old
        return Reply(Answer.OK)

    def _drain(self, _: Rotation, version: int) -> Reply:
        over = self.leases.get(version, self.now) <= self.now
        return Reply(Answer.OK if over else Answer.REFUSED, "" if over else "a gateway still holds a lease")

    def kept(self) -> set[str]:
        """Return the keys that work, and whose secret was not lost."""
        return {name for version, name in self.key_of.items() if version not in self.lost} & self.working()

    def _delete(self, rotation: Rotation, version: int) -> Reply:
        if not self.incident and self.current in self.lost:
            return Reply(Answer.REFUSED, f"{NOT_DELETED}the key that stays is lost")
        self.deletes.append(version)
        if not self.incident:
            assert version != self.current, "the key in use was deleted"
            assert version != rotation.old or self.current == rotation.new, "the old key, before the cutover"
            assert version != rotation.old or self.verified, "the old key, before the new one was verified"
            assert self.leases.get(version, self.now) <= self.now, "a key that somebody holds a lease on"
        key = self.keys[self.key_of[version]]
        if key.gone_at is not None and key.gone_at <= self.now:
            return Reply(Answer.REFUSED, GONE)
        if self.fate is not Fate.LIED:
            key.gone_at = self.now + (rotation.limits.window_for if self.fate is Fate.LATE else timedelta(0))
        return Reply(Answer.OK)

    def _probe(self, _: Rotation, version: int) -> Reply:
        key = self.keys[self.key_of[version]]
        if version in self.private and self.probing:
            works = key.works(self.now)
            if works or self.alone:
                return (
                    Reply(Answer.REFUSED, ALIVE) if works else Reply(Answer.UNKNOWN, NAMED, proof="by name")
                )
        return Reply(Answer.UNKNOWN, LISTED if key.is_listed(self.now, self.lag) else ABSENT)

    def _entomb(self, _: Rotation, version: int) -> Reply:
        assert not self.keys[self.key_of[version]].works(self.now), "called dead, and it is not"
        self.tombs.add(version)
        return Reply(Answer.OK)


def planned(world: World, *, key_type: KeyType = KeyType.ED25519, listed: bool = True) -> Rotation:
    """Return a rotation from version 1 to 2."""
    return Rotation(
        "rot_0123456789abcdef0123", "main", Slot.TRADE, 2, 1, key_type, Permissions(trade=True), ("127.0.0.7",),
        "interval", by_hand=False, listed=listed, leased=True, state=State.PLANNED, started_at=world.now,
        entered_at=world.now, due_at=world.now,
    )  # fmt: skip


@dataclass
class Run:
    """What became of one rotation."""

    rotation: Rotation
    states: list[State]
    notes: list[str]


def run(
    world: World,
    rotation: Rotation,
    fates: list[Fate],
    decide: Decide,
    *,
    incident_at: int | None = None,
    named: tuple[int, ...] = (1,),
    roll_back_at: int | None = None,
    most: int = 600,
    watch: Callable[[World, Rotation], None] = lambda _world, _rotation: None,
) -> Run:
    """Carry a rotation out; once the fates are used up all goes well, and stalls are resumed."""
    states, notes = [rotation.state], []
    event: Event = Tick()
    for number in range(most):
        if incident_at is not None and number >= incident_at and not rotation.over and not world.incident:
            world.incident = True
            event = Incident(named, "keys leaked")
        elif number == roll_back_at and rotation.state is State.DRAINING:
            event = RollBack("the operator says so")
        step = decide(rotation, event, world.now)
        rotation = step.rotation
        notes += [step.note] if step.note else []
        if states[-1] is not rotation.state:
            states.append(rotation.state)
        watch(world, rotation)
        if rotation.over:
            return Run(rotation, states, notes)
        if step.effect is not None:
            fate = fates.pop(0) if fates else Fate.WELL
            event = world.perform(rotation, step.effect, fate)
            world.now += timedelta(seconds=0.2)
            if fate in {Fate.KILLED_BEFORE, Fate.KILLED_AFTER}:
                world.now += timedelta(seconds=3)
                event = Restarted()
            continue
        world.now = max(world.now, rotation.due_at)
        event = Tick()
        if rotation.state is State.STALLED or _asks_a_person(world, rotation):
            event = _answer(world, rotation)
    raise AssertionError(f"it never ends: {[state.value for state in states][-12:]} {notes[-6:]}")


def _asks_a_person(world: World, rotation: Rotation) -> bool:
    """Tell whether an incident waits to be told if a key was made, because the venue's keys carry no label."""
    return rotation.halt is not None and not rotation.halt.looked and not world.labels and not rotation.over


def _answer(world: World, rotation: Rotation) -> Event:
    """Answer a stall as an honest operator would, who looks at the venue's page once everything has settled."""
    if rotation.reason.startswith(NOT_DELETED) and rotation.state is State.STALLED:
        back = (
            may_give_up(rotation) and rotation.old is not None and world.key_of[rotation.old] in world.kept()
        )
        return RollBack("the new one is lost") if back else Resume(leave=True)
    if rotation.stalled_from is not State.RECONCILING and rotation.state is not State.HALTING:
        return Resume()
    world.now += timedelta(minutes=5)
    found = [name for name, key in world.keys.items() if key.label == rotation.label and key.works(world.now)]
    return Resume(key_id=found[0] if found else "", has_private=rotation.new in world.private)


def with_limits(rotation: Rotation, **changes: object) -> Rotation:
    """Return a rotation with other limits."""
    return replace(rotation, limits=replace(rotation.limits, **changes))  # type: ignore[arg-type]
