"""An egress that declares no addresses binds no new key; what only ends a key needs none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.errors import Conflict
from broker.gate import Mode
from broker.model import KeyRef
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from rotation.journal import Journal
from rotation.plan import draw_up, draw_up_retirement
from rotation.returned import Returned

_SAFE = KeyFacts(True, True, False, False, True, "42")
_POLICY = (
    'allow = ["market", "trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n'
    "[checkout]\nmax_seconds = 3600\n"
)


def test_the_key_of_an_ended_checkout_is_ended(tmp_path: Path) -> None:
    """It stayed with whoever had it, and a cut of its account did not change that."""
    home = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(home) as service:
        service.mirror.merge()
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:9")
        _imported(service, "A")
        service.grants.create_consumer("bot")
        grant = service.grants.create(consumer="bot", account="main", policy=_POLICY).grant
        service.checkouts.open(grant.id, ttl=timedelta(minutes=1), holder="Ann", reason="tax")
        service.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
        _imported(service, "B")
        now = datetime.now(UTC)
        planned = draw_up_retirement(service, KeyRef("main", Slot.TRADE, 1), "retire", now)
        assert (planned.old, planned.addresses) == (1, ())
        journal = Journal(service.desk.database, service.audit, "p")
        Returned(service, journal).look(now)
        (begun,) = service.rotations.list().items
        assert (begun.account, begun.old_version) == ("main", 1)
        assert journal.claim_one(begun.id, now) is not None  # it is read again as it was written


def test_no_key_is_made_where_it_could_be_bound_to_nothing(tmp_path: Path) -> None:
    home = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(home) as service:
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:9")
        with pytest.raises(Conflict) as refused:
            draw_up(service, "main", Slot.TRADE, "schedule", datetime.now(UTC))
        assert refused.value.reason == "no_addresses"


def _imported(service: Service, name: str) -> None:
    credential = Credential(name, Secret(f"planted-{name}"), KeyType.HMAC)
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=_SAFE)
