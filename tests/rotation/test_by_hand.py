"""A person's word that a tool has its new key is taken once that key was shown, and is not lost to who writes beside."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.db.destinations import Delivery
from broker.errors import Conflict, NotGranted
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType, Slot
from portcullis.foundation import found, opened
from rotation.destinations.delivery import Deliveries
from tests.rotation.test_last_look import SAFE, Waits

ROTATION = "rot_00000000000000000000"
Home = tuple[Service, Service]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A broker and the rotator beside it, and a tool that a person pastes the key into."""
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(made) as broker, opened(made) as rotator:
        broker.accounts.create_egress("out", addresses=("127.0.0.7",))
        broker.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        broker.keys.import_key(
            "main", slot=Slot.TRADE, credential=Credential("REAL", Secret("planted-secret"), KeyType.HMAC), facts=SAFE
        )  # fmt: skip
        broker.destinations.create(
            "tool", account="main", slot=Slot.TRADE, kind="manual", settings={"what": "the tax tool"}
        )
        broker.mirror.merge()
        rotator.mirror.merge()
        yield broker, rotator


def bring(rotator: Service, meanwhile: Callable[[], None] = lambda: None) -> str:
    """Let the rotator look for what it waits for; `meanwhile` happens whenever it waits for its turn to write."""
    fence = Waits(rotator.desk.database, ROTATION, 1)
    object.__setattr__(fence, "meanwhile", meanwhile)
    (key,) = rotator.keys.list("main")
    return Deliveries(rotator, rotator.desk.clock.now_us).bring(fence, key, venue="binance")


def only(broker: Service) -> Delivery:
    (one,) = broker.destinations.deliveries(ROTATION)
    return one


def test_a_key_that_was_shown_to_nobody_is_confirmed_by_nobody(home: Home) -> None:
    """The old key was deleted on that word, and the tool stood still."""
    broker, rotator = home
    assert "a person pastes main/trade/1 into the tax tool" in bring(rotator)
    assert only(broker).delivered_us is None
    with pytest.raises(
        Conflict, match="main/trade/1 was shown to nobody, so the tax tool cannot have it"
    ) as no:
        broker.destinations.confirm("tool", ROTATION)
    assert "portcullis destination key tool --reason rotation" in str(no.value)
    assert f"portcullis rotation waive {ROTATION} --destination tool" in str(no.value)
    assert not only(broker).over
    broker.checkouts.paste("tool", "rotation")
    place, done = broker.destinations.confirm("tool", ROTATION)
    assert (place.where, done.version, done.over) == ("the tax tool", 1, True)
    assert bring(rotator) == ""


def test_a_key_that_was_kept_here_in_the_end_was_shown_to_nobody(home: Home) -> None:
    """A cut came between: its secret was in no answer."""
    broker, rotator = home
    bring(rotator)
    broker.checkouts.paste("tool", "rotation").withhold(NotGranted("cut", "a cut"))
    with pytest.raises(Conflict, match="shown to nobody"):
        broker.destinations.confirm("tool", ROTATION)
    broker.checkouts.paste("tool", "rotation")
    broker.checkouts.paste("tool", "again").withhold(NotGranted("cut", "a cut"))
    assert broker.destinations.confirm("tool", ROTATION)[1].over, "it was shown before"


def test_what_a_person_says_while_the_rotator_looks_is_not_written_over(home: Home) -> None:
    """It had read the delivery before, and wrote it as it was then: the person was asked once more."""
    broker, rotator = home
    bring(rotator)
    begun = iter([None])

    def meanwhile() -> None:
        for _ in begun:
            broker.checkouts.paste("tool", "rotation")
            broker.destinations.confirm("tool", ROTATION)

    with broker.desk.database.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET next_us = 0")
    bring(rotator, meanwhile)
    assert only(broker).over
    assert only(broker).delivered_us is not None
    assert only(broker).says.startswith("confirmed by ")
