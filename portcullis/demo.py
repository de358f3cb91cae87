"""`portcullis demo`: a paper home with a bot that may trade, set up at the first start, found again at the next.

Rules:
1. Paper homes only. The sample sub-account, its real (paper) key, the manager key that can rotate it, the consumer,
   the grant: each is made once; what a broken start left half done is finished by the next.
2. A virtual secret is nowhere but with the bot. This bot is ours, so its secret lies in a file of our paper home,
   0600, and the real product never does this.
3. The fields of `Ready.document` are a promise: bot authors use them in their own CI.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import NotFound, Withheld
from broker.model import Grant
from broker.service import Service
from clients.errors import VenueRefused
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType, Slot
from portcullis.foundation import found
from portcullis.paper_process import PaperAdmin, PaperFailed, admin_token_file
from portcullis.recipes import Place, ccxt_config
from portcullis.run import Broker, Options, running_broker
from portcullis.settings import Home, SettingsError, open_home, write_private

ACCOUNT = "demo"
CONSUMER = "demo-bot"
EMAIL = "demo@paper.test"
MANAGER = "demo-master"
MASTER = "master@paper.test"
EGRESS = "demo"
ADDRESS = "127.0.0.1"
"""What the paper exchange sees of us; the demo's keys are bound to it."""

BALANCES = {"USDT": "10000", "BTC": "0.5", "ETH": "5"}
POLICY = """\
# What the demo's bot may do. Withdrawals cannot be written down at all.
allow = ["market", "account", "trade", "wallet-read", "margin-read"]
symbols = ["BTCUSDT", "ETHUSDT"]
reference_asset = "USDT"

[order]
max_notional = "1000"
collar_percent = "10"

[day]
max_notional = "10000"
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """A demo at work: where everything is, and the virtual key."""

    broker: Broker
    paper_token: Secret
    grant: Grant
    secret: Secret
    fresh: bool

    @property
    def place(self) -> Place:
        """What the bot needs to know."""
        return Place(self.broker.running.gateway, self.grant.key_id, self.secret.reveal())

    def document(self) -> dict[str, Any]:
        """Return what `demo --json` prints: the fields are a promise."""
        home = self.broker.home
        return {
            "home": str(home.root),
            "pid": os.getpid(),
            "api": self.broker.running.api,
            "operator_token": home.operator_token.read_text(encoding="ascii").strip(),
            "gateway": self.broker.running.gateway,
            "paper": self.broker.paper_base,
            "paper_admin_token": self.paper_token.reveal(),
            "account": ACCOUNT,
            "consumer": CONSUMER,
            "grant": self.grant.id,
            "key_id": self.grant.key_id,
            "secret": self.secret.reveal(),
            "ccxt": ccxt_config(self.place),
        }


def demo_home(root: Path) -> Home:
    """Open the demo's home, or make it.

    Raises:
        SettingsError: It is a home already and not a paper one.
    """
    if not (root / "home.json").exists():
        return found(root, Environment.PAPER, "solo").home
    home = open_home(root)
    if home.environment is not Environment.PAPER:
        raise SettingsError(
            "--home",
            f"{root} is a {home.environment.value} home, and the demo is paper only; name another directory",
        )
    return home


@asynccontextmanager
async def running_demo(home: Home, options: Options) -> AsyncIterator[Ready]:
    """Run a home with a bot that may trade.

    Raises:
        SettingsError: The home cannot be run, or was restored and needs a person first.
        ChildFailed: A child did not get ready.
    """
    async with running_broker(home, options) as broker:
        _follow(broker)
        token = Secret(admin_token_file(home).read_text(encoding="ascii").strip())
        admin = PaperAdmin(broker.paper_base, token.reveal())
        try:
            await _account(broker, admin)
            await _manager(broker, admin)
            grant, secret, fresh = _grant(broker.service, home.paper / "demo-bot.json")
        except Withheld:
            raise SettingsError("--home", _held(home)) from None
        finally:
            await admin.close()
        yield Ready(broker, token, grant, secret, fresh)


def _follow(broker: Broker) -> None:
    """Let the demo's account and manager find our paper exchange: a restored home names the old one's port."""
    service, base = broker.service, broker.paper_base
    for before in {one.upstream for one in service.accounts.list().items if one.name == ACCOUNT} - {
        base,
        None,
    }:
        service.accounts.move_upstream(ACCOUNT, base)
        service.managers.follow(str(before), base)


def _held(home: Home) -> str:
    """Say what to do where a restored home cannot be a demo as it is."""
    return (
        f"{home.root} was restored or copied, and the paper exchange of this start knows none of its keys. Put the "
        f"folder `paper` of the old home in the place of {home.paper} and start it again; or go on without the demo: "
        "`portcullis run`, then do what `portcullis reconcile` says; or name another directory for a new demo"
    )


async def _account(broker: Broker, admin: PaperAdmin) -> None:
    """Make the sub-account with its balances, and import a key of it that works."""
    service = broker.service
    try:
        await admin.open_account(EMAIL, BALANCES)
    except PaperFailed as fault:
        if not fault.taken:
            raise
    try:
        account = service.accounts.get(ACCOUNT)
    except NotFound:
        _egress(service)
        account = service.accounts.create(ACCOUNT, venue="binance", egress=EGRESS, upstream=broker.paper_base)
    egress = service.accounts.egress(account.egress)
    current = [key for key in service.keys.list(ACCOUNT) if key.stage.value == "current"]
    for key in current:
        values = service.desk.secrets.read(key.path)
        known = Credential(key.venue_key_id, values["secret"], key.key_type)
        try:
            await asyncio.to_thread(broker.inspector.inspect, account, egress, known)
        except VenueRefused:
            continue  # the paper exchange lost it: a new one takes its place
        return
    key_id, secret = await admin.make_key(EMAIL, label="portcullis-demo", ips=(ADDRESS,))
    credential = Credential(key_id, Secret(secret), KeyType.HMAC)
    facts = await asyncio.to_thread(broker.inspector.inspect, account, egress, credential)
    service.keys.import_key(ACCOUNT, slot=Slot.TRADE, credential=credential, facts=facts)


def _egress(service: Service) -> None:
    """Name the way out, with the address that new keys are bound to."""
    if all(one.name != EGRESS for one in service.accounts.egresses()):
        service.accounts.create_egress(EGRESS, addresses=(ADDRESS,))


async def _manager(broker: Broker, admin: PaperAdmin) -> None:
    """Put the account under a key of the paper master, so that its keys rotate by themselves."""
    service = broker.service
    account = service.accounts.get(ACCOUNT)
    if account.manager is not None:
        return
    if all(one.name != MANAGER for one in service.managers.list()):
        key_id, secret = await admin.make_key(MASTER, label="portcullis-demo-manager", ips=(ADDRESS,))
        key = Credential(key_id, Secret(secret), KeyType.HMAC)
        draft = service.managers.draft(
            MANAGER, venue="binance", egress=account.egress, upstream=broker.paper_base, key=key
        )
        egress = service.accounts.egress(account.egress)
        facts = await asyncio.to_thread(broker.warden.facts, draft, egress, key)
        service.managers.take(draft, key, facts)
    manager = service.managers.get(MANAGER)

    def listed() -> tuple[VenueKey, ...]:
        egress = service.accounts.egress(manager.egress)
        return broker.warden.listed(manager, egress, service.managers.credential(manager), EMAIL) or ()

    await asyncio.to_thread(service.managers.assign, ACCOUNT, MANAGER, EMAIL, listed)


def _grant(service: Service, path: Path) -> tuple[Grant, Secret, bool]:
    """Return the bot's grant and its secret, and whether they are new."""
    try:
        service.grants.consumer(CONSUMER)
    except NotFound:
        service.grants.create_consumer(CONSUMER, "made by portcullis demo")
    known = _kept(path)
    standing = [
        grant
        for grant in service.grants.list(consumer=CONSUMER, account=ACCOUNT).items
        if grant.revoked_at is None
    ]
    for grant in standing:
        if known is not None and grant.key_id == known[0]:
            return grant, known[1], False
    if standing:
        issued = service.grants.reissue(standing[0].id)
    else:
        issued = service.grants.create(consumer=CONSUMER, account=ACCOUNT, policy=POLICY)
    if issued.secret is None:
        raise RuntimeError("the demo's grant was made without a secret")
    kept = {"key_id": issued.grant.key_id, "secret": issued.secret.reveal()}
    write_private(path, json.dumps(kept) + "\n")
    return issued.grant, issued.secret, True


def _kept(path: Path) -> tuple[str, Secret] | None:
    """Return the key id and secret that the last start kept; None where it kept none."""
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        return str(document["key_id"]), Secret(document["secret"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
