"""The runbooks of hosts that come and go, walked: restored elsewhere, superseded and back, a Vault that was put back."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.backup import code
from broker.db import managers as manager_store
from broker.deeds import Deed
from broker.errors import StoreUnavailable, Withheld
from broker.gate import Mode
from broker.model import Account, KeyVersion, Stage
from broker.service import Service
from broker.service.reconcile import Reconciled
from broker.service.reconcile_facts import Surveyed
from broker.service.reconcile_lists import surveyed
from clients.paper.exchange import MASTER
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis import backup, seating
from portcullis.foundation import found, opened
from portcullis.key_inspector import VenueInspector
from portcullis.key_warden import VenueWarden
from portcullis.settings import Home
from portcullis.upkeep import Upkeep
from portcullis.vault_settings import VaultDocument
from rotation.effects import Effects
from rotation.journal import Journal
from rotation.plan import draw_up
from rotation.planner import Planner
from rotation.runner import Runner
from rotation.state import Rotation, State
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.gateway.world import Paper, running_paper
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, QUICK, now
from tests.services import binaries
from tests.services.vault.server import VaultServer, raft_vault

pytestmark = pytest.mark.sockets


@dataclass
class Host:
    """A home at work on one host, without its processes."""

    service: Service
    paper: Paper

    def journal(self, who: str = "rotator") -> Journal:
        return Journal(self.service.desk.database, self.service.audit, who)

    def runner(self) -> Runner:
        return Runner(self.journal(), Effects(self.service, Venues(self.service)), now)

    def rotates(self) -> Rotation:
        """Rotate the trade key to its end, as `rotation start --wait` does."""
        planned = replace(draw_up(self.service, "main", Slot.TRADE, "asked", now()), limits=QUICK)
        self.journal().plan(planned)
        runner = self.runner()
        while True:
            last = runner.once()
            if last is not None and (last.over or last.state is State.STALLED):
                return last

    def goes_by_itself(self) -> None:
        """Do all that a rotator does by itself when a key is long due."""
        late = now() + timedelta(days=400)
        Planner(self.service, self.journal(), random.SystemRandom()).look(late)
        Sweeper(self.service, Venues(self.service), self.journal()).sweep(late)
        self.runner().once()
        self.service.secrets.tidy()

    def compares(self, *, old_host_off: bool = False, deleted: tuple[str, ...] = ()) -> Reconciled:
        inspector, warden, service = VenueInspector(), VenueWarden(), self.service

        def ask(name: str, credential: Credential) -> KeyFacts:
            account = service.accounts.get(name)
            return inspector.inspect(account, service.accounts.egress(account.egress), credential)

        def survey(account: Account, keys: tuple[KeyVersion, ...]) -> Surveyed:
            manager = service.managers.get(account.manager or "")
            egress, key = service.accounts.egress(manager.egress), service.managers.credential(manager)
            listed = warden.listed(manager, egress, key, account.subaccount or "")
            return surveyed(account, keys, listed, warden.odd)

        return service.reconciliation.look(
            ask, survey, confirmed=(), old_host_off=old_host_off, deleted=deleted
        )

    def living(self) -> set[str]:
        keys = self.paper.exchange.keys.values()
        return {key.key_id for key in keys if key.account == EMAIL and not key.deleted}

    def current(self) -> KeyVersion:
        return next(key for key in self.service.keys.list("main") if key.stage is Stage.CURRENT)

    def filled(self) -> None:
        """Let an account under a manager key be there, with a key."""
        service, paper = self.service, self.paper
        service.accounts.create_egress("out", addresses=(ACCOUNT_ADDRESS,), source=ACCOUNT_ADDRESS)
        paper.account(EMAIL)
        service.accounts.create("main", venue="binance", egress="out", upstream=paper.base_url)
        real = paper.key(EMAIL, ips=(ACCOUNT_ADDRESS,))
        assert real.secret is not None
        facts = KeyFacts(True, True, False, False, True, str(paper.exchange.accounts[EMAIL].uid))
        key = Credential(real.key_id, real.secret, KeyType.HMAC)
        service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=facts)
        master = next(key for key in paper.exchange.keys.values() if key.account == MASTER)
        assert master.secret is not None
        manager = Credential(master.key_id, master.secret, KeyType.HMAC)
        draft = service.managers.draft(
            "master", venue="binance", egress="direct", upstream=paper.base_url, key=manager
        )
        service.managers.take(draft, manager, facts)
        with service.desk.database.write() as connection:
            manager_store.assign(connection, "main", "master", EMAIL)


@contextmanager
def at_work(home: Home, paper: Paper) -> Iterator[Host]:
    with opened(home) as service:
        seating.take(home, service)
        service.continuity.beat()
        service.mirror.merge()
        yield Host(service, paper)
        seating.leave(service)


def restored(home: Home, host: Host, folder: Path, vault: VaultDocument | None) -> tuple[Home, str]:
    """Make a backup, and restore it elsewhere."""
    recovery = backup.new_code(host.service)
    made = backup.make(home, host.service, folder / "backup")
    return restored_of(made.path, recovery, folder / "elsewhere", vault)


def restored_of(file: Path, recovery: object, root: Path, vault: VaultDocument | None) -> tuple[Home, str]:
    content = backup.read_file(file, code.private_key(recovery))  # type: ignore[arg-type] # a Secret
    return backup.restore(content, root, vault=vault, database=None, ports=(0, 0), tell=lambda _: None)


def document(address: str, mount: str, token: Path) -> VaultDocument:
    return VaultDocument.model_validate(
        {"addresses": [address], "mount": mount, "auth": {"method": "token", "file": str(token)}}
    )


async def test_rb_13_restored_on_another_host(tmp_path: Path) -> None:
    """Nothing is touched before the comparison; its list, done from the top, leads to one living key and the thaw."""
    async with running_paper() as paper:
        await asyncio.to_thread(_restored_elsewhere, paper, tmp_path)


def _restored_elsewhere(paper: Paper, folder: Path) -> None:
    home = found(folder / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0).home
    with at_work(home, paper) as old:
        old.filled()
        there, cut = restored(home, old, folder, None)
        assert old.rotates().state is State.DONE  # the old host went on after the backup
        theirs = old.living()
    with at_work(there, paper) as host:
        host.goes_by_itself()
        assert host.living() == theirs, "production's key lives"
        with pytest.raises(Withheld, match="reconcile"):
            host.rotates()
        with pytest.raises(Withheld, match="reconcile"):
            host.service.rotations.start("main", Slot.TRADE)
        first = host.compares()
        assert not first.well
        (key,) = theirs
        (step,) = [one for one in first.blocking if f"{key[:8]}..." in one.said]
        assert "Delete nothing there before you have looked whose it is" in step.said, (
            "no list is known to be ours"
        )
        host.goes_by_itself()
        assert host.living() == theirs, "what is left to do is a person's"
        assert host.rotates().state is State.DONE  # `rotation start --wait`, as the list says
        (step,) = [one for one in host.compares().blocking if f"{key[:8]}..." in one.said]
        assert "Delete it there" in step.said, "the list has the fresh key, so it is this account's"
        for key in theirs:
            paper.exchange.keys[key].deleted = True  # deleted there by hand, as the list says
        found_ = host.compares(old_host_off=True)
        assert found_.well, found_.missing
        host.service.cuts.thaw(cut, reason="compared", actor="me")
        host.service.desk.guard.ensure(Deed.PLAN)
        assert host.living() == {host.current().venue_key_id}


async def test_rb_14_a_superseded_host_that_comes_back(
    tmp_path: Path, vault: VaultServer, mount: str, root_token: Path
) -> None:
    """It touches nothing, says why, and a cut made there still cuts; a second restore of the same backup is above both."""
    async with running_paper() as paper:
        where = document(vault.address, mount, root_token)
        await asyncio.to_thread(_back_again, paper, tmp_path, where)


def _back_again(paper: Paper, folder: Path, vault: VaultDocument) -> None:
    home = found(folder / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0, vault=vault).home
    with at_work(home, paper) as old:
        old.filled()
        recovery = backup.new_code(old.service)
        file = backup.make(home, old.service, folder / "backup").path
        there, cut = restored_of(file, recovery, folder / "elsewhere", vault)
        old.goes_by_itself()  # it was never told, and asks
        assert len(old.living()) == 1
        with pytest.raises(Withheld, match="restored elsewhere"):
            old.service.desk.guard.ensure(Deed.CHECKOUT)
    with at_work(there, paper) as host:
        assert host.compares(old_host_off=True).well
        host.service.cuts.thaw(cut, reason="compared", actor="me")
        assert host.rotates().state is State.DONE
        living = host.living()
    with opened(home) as service:
        again = Host(service, paper)
        upkeep = Upkeep(service)
        upkeep.once()
        (hazard,) = [one for one in upkeep.hazards() if "NOTHING IS SERVED" in one.what]
        assert "restored elsewhere" in hazard.what
        again.goes_by_itself()
        assert again.living() == living
        assert not again.compares().well
        made, _ = service.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
        assert made.on_record
        with pytest.raises(Withheld):
            backup.make(home, service, folder / "another")
    third, _ = restored_of(file, recovery, folder / "third", vault)
    with opened(there) as service, opened(third) as newest:
        newest.mirror.merge()
        service.mirror.merge()
        assert newest.desk.home.generation == 3
        assert not service.mirror.serves
        assert newest.mirror.serves


async def test_rb_15_a_vault_that_was_restored_from_a_snapshot(tmp_path: Path) -> None:
    """Cuts are written there again, bots trade on, nothing is touched; the list leads to a fresh key for the lost one."""
    binaries.need("vault")
    async with running_paper() as paper:
        with raft_vault(tmp_path) as server:
            server.client().sys.enable_secrets_engine("kv", path="kept", options={"version": "2"})
            token = tmp_path / "token"
            token.write_text(server.root)
            token.chmod(0o600)
            await asyncio.to_thread(
                _put_back, paper, tmp_path, server, document(server.address, "kept", token)
            )


def _put_back(paper: Paper, folder: Path, server: VaultServer, vault: VaultDocument) -> None:
    home = found(folder / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0, vault=vault).home
    with at_work(home, paper) as host:
        host.filled()
        host.service.mirror.merge()
        snapshot = server.client().sys.take_raft_snapshot().content
        cut, _ = host.service.cuts.close(
            targets=("account:main",), mode=Mode.HALT, reason="later than the snapshot", actor="me"
        )
        assert host.rotates().state is State.DONE
        host.service.mirror.merge()
        server.client().sys.force_restore_raft_snapshot(snapshot)
        server.wait(lambda code_: code_ in {200, 503})
        if server.client("").sys.is_sealed():
            server.unseal()
        server.wait(lambda code_: code_ == 200)
        living = host.living()
        for _ in range(20):
            try:
                host.service.mirror.merge()
                break
            except StoreUnavailable:
                server.wait(lambda code_: code_ == 200)
        upkeep = Upkeep(host.service)
        upkeep.once()
        assert any("PUT BACK" in one.what for one in upkeep.hazards())
        noted = host.service.desk.secrets.mirror.read(cut.id)
        assert noted is not None
        assert json.loads(noted)["reason"] == "later than the snapshot"
        assert host.service.mirror.serves, "bots trade on"
        host.goes_by_itself()
        assert host.living() == living
        with pytest.raises(Withheld, match="put back"):
            host.rotates()
        first = host.compares()
        assert "bots trade on" in first.waits, "nothing is closed, and nobody says so"
        assert first.blocking[0].commands[0].startswith("portcullis rotation start"), "a new key comes first"
        assert not any("--deleted" in command for command in first.blocking[0].commands)
        upkeep.once()
        (hazard,) = (one for one in upkeep.hazards() if "PUT BACK" in one.what)
        assert "no key is made" not in hazard.what, "one is, when a person asks for it"
        assert any(
            one.key == "main/trade/2" and one.reason in {"no_secret", "destroyed"} for one in first.keys
        )
        assert host.rotates().state is State.DONE
        found_ = host.compares()
        assert found_.well, found_.missing
        upkeep.once()
        assert not any("PUT BACK" in one.what for one in upkeep.hazards())
        host.service.desk.guard.ensure(Deed.PLAN)
        assert host.living() == {host.current().venue_key_id}


async def test_a_sealed_vault_keeps_everything_as_it_is_and_cuts_go(tmp_path: Path) -> None:
    """Nothing is made, deleted, imported or handed out while it cannot be asked; unsealed, all goes on."""
    binaries.need("vault")
    async with running_paper() as paper:
        with raft_vault(tmp_path) as server:
            server.client().sys.enable_secrets_engine("kv", path="kept", options={"version": "2"})
            token = tmp_path / "token"
            token.write_text(server.root)
            token.chmod(0o600)
            await asyncio.to_thread(_sealed, paper, tmp_path, server, document(server.address, "kept", token))


def _sealed(paper: Paper, folder: Path, server: VaultServer, vault: VaultDocument) -> None:
    home = found(folder / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0, vault=vault).home
    with at_work(home, paper) as host:
        host.filled()
        living = host.living()
        planned = replace(draw_up(host.service, "main", Slot.TRADE, "asked", now()), limits=QUICK)
        host.journal().plan(planned)
        server.seal()
        for deed in (Deed.MAKE, Deed.DELETE, Deed.MOVE, Deed.BURY, Deed.IMPORT, Deed.CHECKOUT, Deed.DELIVER):
            with pytest.raises(StoreUnavailable, match="sealed"):
                host.service.desk.guard.ensure(deed)
        assert host.runner().once() is None
        assert host.living() == living
        cut, _ = host.service.cuts.close(targets=("account:main",), mode=Mode.HALT, reason="leak", actor="me")
        assert cut.on_record
        server.unseal()
        while (last := host.runner().once()) is None or not last.over:
            pass
        assert last.state is State.DONE
