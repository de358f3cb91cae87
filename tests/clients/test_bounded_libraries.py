"""Libraries that connect by themselves keep to the same bounds: Vault's, Kubernetes', and what speaks to exchanges."""

import threading
from pathlib import Path

import httpx
import pytest

from broker.destination import ClusterSettings
from broker.errors import StoreUnavailable
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from clients.errors import VenueAmbiguous, VenueError, VenueUnavailable
from clients.http import open_client
from clients.secret import Secret
from rotation.destinations import cluster
from rotation.destinations.cluster import ClusterPlace
from rotation.destinations.parcel import NotDelivered
from tests.rotation.test_destinations import parcel
from tests.strangers import FINITE, KINDS, ends, stranger

pytestmark = pytest.mark.sockets
ALL = [*KINDS, *FINITE]


def session(tmp_path: Path, *addresses: str, timeout_s: float = 1.0) -> Session:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("planted-token")
    return Session(VaultConfig(addresses, TokenAuth(token), timeout_s=timeout_s))


@pytest.mark.parametrize("kind", ALL)
def test_a_vault_that_never_ends_is_away(tmp_path: Path, kind: str) -> None:
    """What keeps the login alive comes back with a reason, whatever answers in Vault's place."""
    with stranger(kind) as here:
        vault = session(tmp_path, here.url.removesuffix("/x"))
        fault = ends(vault.maintain)
        assert isinstance(fault, StoreUnavailable), fault
        assert here.sent < 128 * 2**20
        vault.close()


def test_threads_that_wait_for_a_login_have_an_end_too(tmp_path: Path) -> None:
    """Twenty at once do not wait for one another: the last is answered about when the first is."""
    with stranger("says nothing") as here:
        vault = session(tmp_path, here.url.removesuffix("/x"))
        faults: list[object] = []
        start = threading.Barrier(20)

        def ask() -> object:
            start.wait(60)
            return vault.ask("look", lambda _: None)

        threads = [threading.Thread(target=lambda: faults.append(ends(ask))) for _ in range(20)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
        assert len(faults) == 20
        assert all(
            isinstance(fault, StoreUnavailable) and fault.reason == "vault_slow" for fault in faults
        ), faults
        assert here.asked <= 6, "three seconds of one call each: not twenty logins, one after the other"
        vault.close()


@pytest.mark.parametrize("kind", ALL)
def test_a_cluster_that_never_ends_is_not_delivered_to(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The Kubernetes client has limits of each read only; the call has one in all."""
    monkeypatch.setattr(cluster, "PATIENCE_S", 3.0)
    with stranger(kind) as here:
        settings = ClusterSettings("bots", "binance-key", server=here.url.removesuffix("/x"))
        fault = ends(lambda: ClusterPlace(settings, Secret("planted-token")).deliver(parcel()))
        assert isinstance(fault, NotDelivered), fault
        assert "planted" not in str(fault)


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exchange_that_never_ends_is_unknown_for_a_write(kind: str, write: bool) -> None:
    """A dripping exchange, or a proxy before it, holds no rotation; whether it did it is not guessed."""
    limits = httpx.Timeout(connect=1.0, read=1.0, write=0.0, pool=1.0)
    with (
        stranger(kind) as here,
        open_client("binance", here.url.removesuffix("/x"), timeout=limits) as client,
    ):
        fault = ends(lambda: client.post("/x", extensions={"endpoint": "spot.order", "write": write}))
        assert isinstance(fault, VenueError), fault
        assert isinstance(fault, VenueAmbiguous if write else VenueUnavailable)
