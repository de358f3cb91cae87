"""A secret that a lease needs and the store has not is a condition that names whose it is, and the next step."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from broker.api.context import Context
from broker.api.wrong import of_this_process
from broker.errors import NotFound, StoreUnavailable
from broker.ports import SecretStore
from broker.service.conditions import Condition
from broker.stores.held import Held
from clients.secret import Secret
from tests.api.desk import FakeGateways
from tests.gateway.world import World, bots, running_world

pytestmark = pytest.mark.usefixtures("kind")
HOW = pytest.mark.parametrize("how", ["no_secret", "incomplete", "tampered"])


class Lacking:
    """A store that lacks what is asked for, where a test says so, and how."""

    def __init__(self, inner: SecretStore, lacks: Callable[[str], bool], how: str) -> None:
        self.inner, self._lacks, self._how = inner, lacks, how

    def read(self, path: str) -> Mapping[str, Secret]:
        if self._lacks(path):
            if self._how == "incomplete":
                return Held(path, {"sekret": Secret("x")})
            fault = NotFound if self._how == "no_secret" else StoreUnavailable
            raise fault(self._how, "it is not there")
        return self.inner.read(path)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def found(world: World) -> list[Condition]:
    nobody = cast("Any", None)
    here = Context(world.service, FakeGateways(), nobody, nobody)
    return [one for one in of_this_process(here) if one.kind == "secret-gone"]


def lacking(world: World, lacks: Callable[[str], bool], how: str) -> SecretStore:
    whole = world.service.desk.secrets
    world.service.desk.secrets = Lacking(whole, lacks, how)  # type: ignore[assignment]
    return whole


def _here() -> bool:
    """Tell whether it is the grant that is made, not the lease that is opened."""
    return threading.current_thread() is threading.main_thread()


@HOW
async def test_a_virtual_key_without_its_secret_is_told_with_its_grant(tmp_path: Path, how: str) -> None:
    """Every request was a 503 while `status` showed the grant as open, without a line."""
    async with running_world(tmp_path) as world:
        world.account()
        (key,) = world.service.keys.list()
        whole = lacking(
            world, lambda path: path != key.path and not _here(), how
        )  # before its lease is opened ahead
        bot = world.bot()
        assert (await bot.order()).status == 503
        (grant,) = world.service.grants.list().items
        (one,) = found(world)
        assert one.subject == f"grant:{grant.id}"
        assert grant.consumer in one.says
        assert one.step == f"portcullis grant reissue {grant.id}"
        world.service.desk.secrets = whole
        world.service.grants.reissue(grant.id)
        assert found(world) == []


@HOW
async def test_a_real_key_without_its_secret_is_told_with_its_account(tmp_path: Path, how: str) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        (key,) = world.service.keys.list()
        lacking(world, lambda path: path == key.path, how)
        bot = world.bot()
        assert (await bot.order()).status == 503
        (one,) = found(world)
        assert one.subject == f"key-version:{key.ref}"
        assert one.account == key.ref.account


async def test_who_comes_with_a_key_that_was_replaced_is_on_record_by_name(tmp_path: Path) -> None:
    """Its lines had no consumer, so that `alerts list` told of many orders of nobody."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        (grant,) = world.service.grants.list().items
        world.service.grants.reissue(grant.id)
        async with asyncio.timeout(60):
            while not any(
                (one.reason, one.consumer, one.grant) == ("revoked", "bot", grant.id)
                for one in world.service.calls.list(decision="deny").items
            ):
                await bot.order()
                await asyncio.sleep(0.05)
