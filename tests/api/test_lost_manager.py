"""A restored home whose manager key's secret is lost: what `reconcile` prints leads out, typed as it is printed."""

import shlex
from typing import Any

import pytest

from broker.deeds import Deed
from broker.errors import Withheld
from broker.gate import Mode
from broker.model import Manager
from broker.service import Service
from broker.service.lost import free_name
from broker.service.reconcile_facts import Facts, Listing
from broker.service.reconcile_lists import UNLISTABLE
from broker.service.reconcile_steps import blocking, is_compared
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import SAFE, UPSTREAM, Desk
from tests.losing import WAYS, lose

EMAIL = "o'one@b.c"


def manager(service: Service) -> Manager:
    key = Credential("MANAGER", Secret("planted-manager-secret"), KeyType.HMAC)
    draft = service.managers.draft("master", venue="binance", egress="out", upstream=UPSTREAM, key=key)
    return service.managers.take(draft, key, SAFE)


@pytest.fixture
def closed(desk: Desk) -> str:
    """A home with two accounts under a manager key, and everything closed by the program."""
    service = desk.service
    service.accounts.create_egress("out", addresses=("127.0.0.1",), source="127.0.0.1")
    manager(service)
    for name, email in (("main", EMAIL), ("second", "two@b.c")):
        service.accounts.create(name, venue="binance", upstream=UPSTREAM)
        credential = Credential(f"REAL{name}", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key(name, slot=Slot.TRADE, credential=credential, facts=SAFE)
        key = VenueKey(f"REAL{name}", "")
        desk.warden.keys[email] = (key,)
        service.managers.assign(name, "master", email, lambda email=email: desk.warden.keys[email])
    cut, _ = service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis"
    )
    return cut.id


async def reconciled(desk: Desk, **body: Any) -> dict[str, Any]:
    async with desk.client() as client:
        answer = await client.post("/v1/reconciliations", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def typed(desk: Desk, command: str) -> None:
    """Do what a printed command does."""
    match shlex.split(command):
        case ["portcullis", "manager", "import", "--name", name, "--egress", egress]:
            method, path = "POST", "managers"
            body = {
                "name": name, "venue": "binance", "egress": egress, "upstream": UPSTREAM, "key_id": "FRESH",
                "secret": "planted-fresh-secret", "key_type": "hmac",
            }  # fmt: skip
        case ["portcullis", "account", "manage", account, "--manager", name, "--subaccount", email]:
            method, path = "PUT", f"accounts/{account}/manager"
            body = {"manager": name, "subaccount": email}
        case ["portcullis", "account", "release", account]:
            method, path, body = "POST", f"accounts/{account}/release", {}
        case ["portcullis", "reconcile", "--confirm", name]:
            method, path, body = "POST", "reconciliations", {"confirmed": [name]}  # type: ignore[dict-item]
        case other:
            raise AssertionError(other)
    async with desk.client() as client:
        answer = await client.request(method, f"/v1/{path}", json=body)
    assert answer.status_code in {200, 201}, answer.text


async def opens(desk: Desk, cut: str) -> None:
    found = await reconciled(desk)
    assert found["well"], found["missing"]
    async with desk.client() as client:
        thawed = await client.post("/v1/thaws", json={"cut": cut, "reason": "looked"})
    assert thawed.status_code == 200, thawed.text


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("way", ["another", "by word", "released"])
async def test_what_is_printed_leads_out(desk: Desk, closed: str, how: str, way: str) -> None:
    lose(desk.service.desk.secrets, desk.service.managers.get("master").path, how)
    with pytest.raises(Withheld):
        desk.service.desk.guard.ensure(Deed.IMPORT)
    found = await reconciled(desk)
    desk.service.desk.guard.ensure(Deed.IMPORT)  # by hand a person goes on
    assert not found["well"]
    steps = [step for step in found["steps"] if step["blocks"]]
    assert [step["what"].partition(":")[0] for step in steps] == ["main", "second"]
    assert all(f"the manager key master is lost ({how})" in step["what"] for step in steps)
    done = set[str]()
    for step in steps:
        commands = [one for one in step["commands"] if one != "portcullis reconcile"]
        assert (len(commands) < len(step["commands"])) is (how in {"tampered", "vault_deleted"})
        *another, release, word = commands
        assert release == f"portcullis account release {step['what'].partition(':')[0]}"
        for command in {"another": another, "by word": [word], "released": [release, word]}[way]:
            if command not in done:
                await typed(desk, command)
            done.add(command)
    await opens(desk, closed)


@pytest.mark.parametrize("reason", sorted(UNLISTABLE))
def test_a_list_that_will_never_be_had_keeps_nobody_from_going_on_by_hand(reason: str) -> None:
    listing = Listing("master", ("no list",), reason, EMAIL, "out", "master-2")
    facts = Facts(listed={"main": listing})
    assert is_compared(facts)
    (step,) = blocking(facts)
    assert "portcullis manager import --name master-2 --egress out" in step.commands
    assert (
        f"portcullis account manage main --manager master-2 --subaccount {shlex.quote(EMAIL)}"
        in step.commands
    )
    outage = Facts(listed={"main": Listing("master", ("no list",), "rate_limited")})
    assert not is_compared(outage)
    assert blocking(outage)[0].commands == ("portcullis reconcile",)


def test_what_takes_its_place_has_a_name_that_is_free() -> None:
    assert free_name("master", ("master",)) == "master-2"
    assert free_name("master-2", ("master", "master-2", "master-3")) == "master-4"
    assert len(free_name("m" * 64, ())) <= 64
