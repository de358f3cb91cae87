"""A last look has time of its own: a slow destination makes no store be away, nor a slow look a destination."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.deeds import Deed, Known, judge
from broker.destination import ClusterSettings
from broker.service import Service, last_look
from broker.service.host_guard import Heard, HostGuard
from clients import bounds
from clients.bounds import Bounds, TookTooLong, within
from clients.secret import Secret
from clients.venue import Environment
from portcullis.foundation import found, opened
from portcullis.vault_settings import VaultDocument
from rotation.destinations.cluster import ClusterPlace
from rotation.destinations.parcel import PATIENCE_S
from tests.rotation.test_destinations import hook
from tests.rotation.test_destinations import service as listening
from tests.rotation.test_last_look import Cluster, cluster, home, parcel
from tests.services.vault.server import VaultServer

__all__ = ["home"]


def looking(service: Service) -> Callable[[], None]:
    return partial(last_look.look, service.desk, Deed.DELIVER, lambda *_: None)


@pytest.mark.process
def test_a_look_within_a_call_that_is_over_asks_vault_all_the_same(
    vault: VaultServer, mount: str, tmp_path: Path
) -> None:
    """The destination had taken all of its time: that was said of Vault, and refused all else for a second."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(vault.root)
    document = VaultDocument.model_validate(
        {"addresses": [vault.address], "auth": {"method": "token", "file": str(token)}, "mount": mount}
    )
    with opened(found(tmp_path / "home", Environment.PAPER, "solo", vault=document).home) as service:
        service.mirror.merge()
        service.desk.guard._heard = Heard()  # so that it asks anew
        with within(Bounds(0)) as errand:
            with pytest.raises(TookTooLong):
                errand.left_s()
            looking(service)()
        assert service.desk.guard._heard.away == ""
        assert service.desk.guard.allows(Deed.MAKE) is None


@pytest.fixture
def slow_looks(home: tuple[Service, Service, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A look that takes longer than an errand may, by the clock that bounds go by."""
    _, rotator, _ = home
    late_s, ensure = [0.0], HostGuard.ensure
    monkeypatch.setattr(bounds, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late_s[0]))

    def slow(guard: HostGuard, deed: Deed, within_s: float = 0.0) -> None:
        late_s[0] += 2 * PATIENCE_S
        ensure(guard, deed, within_s)

    monkeypatch.setattr(HostGuard, "ensure", slow)
    return looking(rotator)


@pytest.mark.sockets
def test_a_cluster_of_several_that_restart_is_brought_a_key_to_the_end_over_slow_looks(
    slow_looks: Callable[[], None],
) -> None:
    here = Cluster()
    with cluster(here) as address:
        restart = ("deployment/bot", "deployment/other")
        settings = ClusterSettings("bots", "keys", restart=restart, server=address)
        ClusterPlace(settings, Secret("planted-token")).deliver(parcel(slow_looks))
    assert here.noted == ["PATCH keys", "PATCH bot", "PATCH other"]


@pytest.mark.sockets
def test_so_is_a_webhook(slow_looks: Callable[[], None]) -> None:
    with listening() as here:
        hook(here.url).deliver(parcel(slow_looks))
        assert [one["secret"] for one in here.got] == ["planted-secret"]


def test_a_delivery_that_waits_between_two_steps_does_not_say_that_nothing_was_done() -> None:
    no, other = judge(Deed.DELIVER, Known(away="sealed")), judge(Deed.MAKE, Known(away="sealed"))
    assert no is not None
    assert other is not None
    assert no.message == "bringing a key to a destination waits, no further step was done: sealed"
    assert other.message == "making a key waits, nothing was done: sealed"
