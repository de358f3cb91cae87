"""A password that was given again, or taken back where it lay, is told as lost by nobody any more."""

import pytest

from broker.errors import Conflict
from clients.secret import Secret
from tests.api.desk import UPSTREAM, Desk
from tests.api.test_lost_passwords import AS_IT_IS, PASSWORD, told
from tests.losing import lose


@pytest.fixture(autouse=True)
def path(desk: Desk) -> str:
    """Where the password lies that is lost, which was seen."""
    accounts, secrets = desk.service.accounts, desk.service.desk.secrets
    accounts.create_egress("out", **AS_IT_IS, proxy_password=PASSWORD)
    accounts.create("main", venue="binance", egress="out", upstream=UPSTREAM)
    (path,) = secrets.paths("egress/")
    return path


def seen_lost(desk: Desk) -> None:
    with pytest.raises(Conflict, match="is lost"):
        desk.service.accounts.egress("out")


async def test_who_gave_it_again_is_not_told_to_give_it_again(desk: Desk, path: str) -> None:
    """The printed command was refused as taken, and printed on, until some lease or rotation read the password."""
    lose(desk.service.desk.secrets, path, "destroyed")
    seen_lost(desk)
    assert await told(desk, "egress:out")
    desk.service.accounts.create_egress("out", **AS_IT_IS, proxy_password=Secret("another"))
    assert await told(desk, "egress:out") == []


async def test_what_another_broker_was_given_is_not_told_as_lost_here(desk: Desk, path: str) -> None:
    lose(desk.service.desk.secrets, path, "destroyed")
    seen_lost(desk)
    noted = dict(desk.service.desk.gone)
    desk.service.accounts.create_egress("out", **AS_IT_IS, proxy_password=Secret("another"))
    desk.service.desk.gone.update(noted)
    assert await told(desk, "egress:out") == []


async def test_who_is_refused_because_it_is_there_is_not_told_that_it_is_lost(desk: Desk, path: str) -> None:
    """Somebody took it back in Vault, and nobody has read it since: the refusal has."""
    read = desk.service.desk.secrets.read
    lose(desk.service.desk.secrets, path, "vault_deleted")
    seen_lost(desk)
    desk.service.desk.secrets.read = read  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="stays as it is"):
        desk.service.accounts.create_egress("out", **AS_IT_IS, proxy_password=Secret("another"))
    assert await told(desk, "egress:out") == []
