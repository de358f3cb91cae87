"""What a venue lists against what the record knows."""

from datetime import UTC, datetime

from broker.model import KeyRef, KeyVersion, Stage
from clients.keys import VenueKey
from clients.venue import KeyType, Slot
from rotation.sweep import Found, Oddity, compare

LABEL = "rot_0123456789abcdef0123"


def version(number: int, stage: Stage, key_id: str) -> KeyVersion:
    ref = KeyRef("main", Slot.TRADE, number)
    return KeyVersion(ref, stage, key_id, KeyType.HMAC, f"keys/{ref}", datetime(2026, 11, 24, tzinfo=UTC))


def test_a_record_that_is_as_the_venue_has_it_shows_nothing() -> None:
    known = [
        version(1, Stage.TOMBSTONE, "A"),
        version(2, Stage.PREVIOUS, "B"),
        version(3, Stage.CURRENT, "C"),
    ]
    assert compare(known, [VenueKey("C", ""), VenueKey("B", LABEL)]) == ()


def test_a_key_nobody_knows_is_an_orphan_only_with_our_label() -> None:
    listed = [VenueKey("X", LABEL), VenueKey("Y", "my bot"), VenueKey("Z", LABEL + "0"), VenueKey("W", "")]
    assert compare([], listed) == (
        Found(Oddity.ORPHAN, "X", LABEL), Found(Oddity.UNKNOWN, "Y", "my bot"),
        Found(Oddity.UNKNOWN, "Z", LABEL + "0"), Found(Oddity.UNKNOWN, "W", ""),
    )  # fmt: skip


def test_a_tombstone_that_is_listed_is_undead() -> None:
    one = version(1, Stage.TOMBSTONE, "A")
    assert compare([one], [VenueKey("A", "")]) == (Found(Oddity.UNDEAD, "A", "", one.ref),)


def test_a_living_key_that_is_not_listed_is_missing_and_a_pending_one_without_id_is_not() -> None:
    one = version(1, Stage.CURRENT, "A")
    assert compare([one, version(2, Stage.PENDING, "")], []) == (Found(Oddity.MISSING, "A", "", one.ref),)
