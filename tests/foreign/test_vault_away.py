"""A real raft Vault is sealed, killed and restarted while its token dies again and again; a ccxt bot trades on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.model import Stage
from broker.stores.vault.setup import Plan, apply
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found
from portcullis.run import Broker, Options, running_broker
from portcullis.vault_settings import VaultDocument
from tests.foreign.places import CCXT, MONEY
from tests.gateway.world import POLICY
from tests.history.processes import look_back
from tests.long import LONG
from tests.paper.harness import Paper, running_paper
from tests.services import binaries
from tests.services.vault.server import VaultServer, raft_vault

pytestmark = [pytest.mark.foreign, pytest.mark.process, pytest.mark.timeout(900 if LONG else 600)]

SEALED_S = 240 if LONG else 20
"""Longer than a lease: whoever trades after that has renewed without Vault."""
ROLE = "portcullis-run"


def set_up(server: VaultServer, folder: Path) -> VaultDocument:
    """Do what an administrator does; tokens that live two seconds die between any two looks."""
    client = server.client()
    apply(client, Plan("portcullis").steps())
    client.adapter.post(f"/v1/auth/approle/role/{ROLE}", json={"token_period": "2s"})
    secret_id = folder / "secret-id"
    secret_id.touch(mode=0o600)
    secret_id.write_text(client.auth.approle.generate_secret_id(ROLE)["data"]["secret_id"])
    auth = {
        "method": "approle", "role_id": client.auth.approle.read_role_id(ROLE)["data"]["role_id"],
        "secret_id_file": str(secret_id),
    }  # fmt: skip
    return VaultDocument.model_validate({"addresses": [server.address], "auth": auth, "timeout_s": 2})


def account(broker: Broker, paper: Paper) -> None:
    email = paper.account("main@paper.test", **MONEY)
    real = paper.key(email)
    assert real.secret is not None
    service = broker.service
    service.accounts.create("main", venue="binance", upstream=paper.base_url)
    facts = KeyFacts(True, True, False, False, True, str(paper.exchange.accounts[email].uid))
    credential = Credential(real.key_id, Secret(real.secret.reveal()), KeyType.HMAC)
    key = service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
    assert key.stage is Stage.CURRENT


def bot(broker: Broker, name: str) -> dict[str, str]:
    broker.service.grants.create_consumer(name)
    issued = broker.service.grants.create(consumer=name, account="main", policy=POLICY)
    assert issued.secret is not None
    base = f"http://127.0.0.1:{broker.gateway.port}/binance"
    return {"base": base, "key": issued.grant.key_id, "secret": issued.secret.reveal()}


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - a store tells nobody when it comes back
            await asyncio.sleep(0.05)


async def test_a_vault_that_is_sealed_and_killed_costs_a_trading_bot_not_one_request(tmp_path: Path) -> None:
    binaries.need("vault")
    (tmp_path / "vault").mkdir()
    with raft_vault(tmp_path / "vault") as vault:
        document = set_up(vault, tmp_path)
        home = found(tmp_path / "home", Environment.PAPER, "solo", vault=document).home
        assert not home.secrets.exists()
        assert not home.kek.exists()
        async with running_paper() as paper:
            options = Options(api_port=0, gateway_port=0, paper_upstream=paper.base_url)
            async with running_broker(home, options) as broker:
                account(broker, paper)
                running, waiting = bot(broker, "running"), bot(broker, "waiting")

                async def away_and_back() -> None:
                    await asyncio.to_thread(vault.seal)
                    await until(lambda: bool(tuple(broker.upkeep.hazards())))
                    await asyncio.sleep(SEALED_S)  # how long it is away, not when something is done
                    late = await CCXT.run(["load"], **waiting, mode="sync")
                    assert late[0].raised is None, "its lease was opened before its first request"
                    with pytest.raises(StoreUnavailable):  # a new virtual key has to wait
                        await asyncio.to_thread(bot, broker, "new")
                    await asyncio.to_thread(vault.unseal)
                    await until(lambda: not tuple(broker.upkeep.hazards()))
                    await asyncio.to_thread(vault.kill)
                    await until(lambda: bool(tuple(broker.upkeep.hazards())))
                    await asyncio.to_thread(vault.start)
                    await asyncio.to_thread(vault.unseal)
                    await until(lambda: not tuple(broker.upkeep.hazards()))

                steps = await CCXT.run(["load", "trade_on"], away_and_back, **running, mode="async")
                rounds, failures, first = steps[1].saw
                assert failures == 0, first
                assert rounds > SEALED_S / 5, "it traded all the while, on a busy machine more slowly"
                assert (await CCXT.run(["load"], **waiting, mode="sync"))[0].raised is None
            assert (await asyncio.to_thread(look_back, home.root, exchange=paper.exchange)).written
