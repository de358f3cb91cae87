"""What a record that was put back has forgotten is not destroyed, and not made a second time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.model import KeyRef, Stage
from broker.service.rotations import Wish
from clients.paper.ledger import PaperKey
from clients.secret import Secret
from clients.venue import KeyType, Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation.making import _fresh_private, _public_of
from rotation.state import Rotation, State
from tests.rotation.place import EMAIL, STRANGER, Place, running_place
from tests.rotation.test_assisted import begun, running_alone
from tests.rotation.test_held import at_exchange, commands, compare, key_of, told, until
from tests.rotation.test_numbers import forgotten
from tests.rotation.test_slips import said
from tests.rotation.test_superseded import close_by_itself, note, placed

pytestmark = pytest.mark.sockets
BEFORE = [State.PREPARING, State.CREATING]


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.HMAC])
async def test_the_secret_of_a_forgotten_key_outlives_a_rotation_that_found_it_in_its_place(
    tmp_path: Path, key_type: KeyType
) -> None:
    """It was given up, and what lay under its number was destroyed: the one secret of a key that lives."""
    async with running_place(tmp_path) as here:
        planned = replace(here.plan(), key_type=key_type)
        secret, secrets = _fresh_private(), here.world.service.desk.secrets
        path = forgotten(here, planned.new, secret)
        runner = here.runner()
        await asyncio.to_thread(runner.journal.plan, planned)
        assert (await here.carried_out(planned.id, runner)).state is State.ABANDONED
        await asyncio.to_thread(runner.effects.burial.clear_up)
        assert secrets.read(path)["secret"] == secret
        assert key_of(here, planned.new).stage is Stage.TOMBSTONE, "its number was given"


def made_and_forgotten(here: Place, rotation: Rotation) -> tuple[PaperKey, Secret]:
    """Make what a rotation made that the record knows nothing of: its pair, and its key at the exchange."""
    secrets, path = here.world.service.desk.secrets, KeyRef("main", rotation.slot, rotation.new).path
    if rotation.state is not State.CREATING:
        labels = {
            "account": "main", "slot": "trade", "version": str(rotation.new), "key_type": rotation.key_type.value,
            "rotation": rotation.id,
        }  # fmt: skip
        secrets.write(path, {"secret": _fresh_private()}, labels)
    private = secrets.read(path)["secret"]
    made = here.world.paper.exchange.make_key(
        EMAIL, rotation.key_type, {"enableSpotAndMarginTrading": True}, ips=("127.0.0.7",), label=rotation.id,
        public_key=_public_of(private),
    )  # fmt: skip
    return made, private


@pytest.mark.parametrize("state", BEFORE)
async def test_one_whose_create_was_forgotten_goes_on_with_that_key(tmp_path: Path, state: State) -> None:
    """It made a second one with the same pair; the first lived on, on no record."""
    async with placed(tmp_path) as here:
        rotation = await until(here, state)
        made, _ = made_and_forgotten(here, rotation)
        close_by_itself(here.world.service)
        found = await asyncio.to_thread(compare, here)
        (step,) = [one for one in found.blocking if rotation.id in one.what]
        assert "do NOT delete it" in step.do
        assert "Delete it there" not in step.said
        assert commands(step)[0] == "resume"
        assert await told(here, rotation.id, Wish.RESUME) == ""
        done = await here.carried_out(rotation.id, here.runner("restored"))
        assert done.state is State.DONE
        assert [key.key_id for key in here.living()] == [made.key_id]
        assert key_of(here, 2).venue_key_id == made.key_id


@pytest.mark.parametrize("state", BEFORE)
async def test_one_that_is_given_up_ends_no_only_key_and_keeps_its_secret(
    tmp_path: Path, state: State
) -> None:
    """Elsewhere it had gone on to its end: the old key is dead, and the pair is that of the key in use."""
    async with placed(tmp_path) as here:
        rotation = await until(here, state)
        made, private = made_and_forgotten(here, rotation)
        here.world.paper.exchange.keys[here.old_key].deleted = True
        here.plays = ("and its key is dead",)
        close_by_itself(here.world.service)
        await asyncio.to_thread(compare, here)
        note(here.world.service, "compared", "reconciled")
        assert await told(here, rotation.id, Wish.ROLL_BACK, reason="restored") == ""
        runner = here.runner("restored")
        ended = await here.carried_out(rotation.id, runner)
        await asyncio.to_thread(runner.effects.burial.clear_up)
        assert ended.state is State.STALLED
        assert "the key that stays" in ended.reason
        assert not here.world.paper.exchange.keys[made.key_id].deleted
        secrets = here.world.service.desk.secrets
        assert secrets.read(KeyRef("main", rotation.slot, rotation.new).path)["secret"] == private


async def test_one_that_made_nothing_is_given_up_as_ever(tmp_path: Path) -> None:
    async with placed(tmp_path) as here:
        rotation = await until(here, State.CREATING)
        close_by_itself(here.world.service)
        await asyncio.to_thread(compare, here)
        assert await told(here, rotation.id, Wish.ROLL_BACK, reason="restored") == ""
        assert here.world.service.rotations.get(rotation.id).state == "abandoned"
        note(here.world.service, "compared", "reconciled")
        await asyncio.to_thread(here.runner().effects.burial.clear_up)
        assert key_of(here, 2).stage is Stage.TOMBSTONE
        assert at_exchange(here, 1)


async def test_what_a_person_may_have_made_a_key_of_is_kept(tmp_path: Path) -> None:
    """No list tells whether they did, elsewhere: who gives it up after a restore destroys nothing."""
    async with running_alone(tmp_path) as here:
        rotation = await begun(here)
        secrets, path = here.world.service.desk.secrets, KeyRef("main", Slot.TRADE, 2).path
        private = secrets.read(path)["secret"]
        close_by_itself(here.world.service)
        await asyncio.to_thread(compare, here)
        note(here.world.service, "compared", "reconciled")
        assert await said(here, rotation, Wish.ROLL_BACK, reason="restored") == ""
        assert here.world.service.rotations.get(rotation).state == "abandoned"
        here.runner().effects.burial.clear_up()
        assert secrets.read(path)["secret"] == private


@pytest.mark.parametrize("wish", [Wish.RESUME, Wish.ROLL_BACK])
async def test_a_list_with_none_of_its_keys_does_not_say_that_none_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: Wish
) -> None:
    """Another sub-account's: by it a second one was made, or the secret of the one that lived was destroyed."""
    async with placed(tmp_path) as here:
        rotation = await until(here, State.CREATING)
        made, private = made_and_forgotten(here, rotation)
        close_by_itself(here.world.service)
        await asyncio.to_thread(compare, here)
        note(here.world.service, "compared", "reconciled")
        answered_of_another(here, monkeypatch)
        body: dict[str, object] = {"reason": "restored"} if wish is Wish.ROLL_BACK else {}
        answer = await told(here, rotation.id, wish, **body)
        assert answer.startswith("bare_list: ")
        assert f"portcullis rotation drop {rotation.id}" in answer
        runner = here.runner("restored")
        assert await asyncio.to_thread(runner.once) is None
        await asyncio.to_thread(runner.effects.burial.clear_up)
        secrets = here.world.service.desk.secrets
        assert secrets.read(KeyRef("main", rotation.slot, rotation.new).path)["secret"] == private
        assert {key.key_id for key in here.living()} == {here.old_key, made.key_id}
        monkeypatch.undo()
        assert await told(here, rotation.id, Wish.RESUME) == ""
        assert (await here.carried_out(rotation.id, runner)).state is State.DONE
        assert [key.key_id for key in here.living()] == [made.key_id]


async def test_where_no_list_can_say_it_the_rotation_ends_on_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(tmp_path) as here:
        rotation = await until(here, State.CREATING)
        close_by_itself(here.world.service)
        await asyncio.to_thread(compare, here)
        answered_of_another(here, monkeypatch)
        assert await told(here, rotation.id, Wish.DROP, reason="restored") == ""
        assert here.world.service.rotations.get(rotation.id).state == "abandoned"
        assert at_exchange(here, 1)


def answered_of_another(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exchange answer with the list of another sub-account, whose keys are on no record of ours."""
    other, lists = "other@paper.test", BinanceAdmin.list
    here.plays = (STRANGER,)
    here.world.paper.account(other)
    here.world.paper.exchange.make_key(
        other,
        KeyType.HMAC,
        {"enableSpotAndMarginTrading": True},
        ips=("127.0.0.7",),
        label="rot_" + "0b" * 10,
    )
    monkeypatch.setattr(BinanceAdmin, "list", lambda self, _: lists(self, other))
