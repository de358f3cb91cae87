"""Each place that holds a real key outside a gateway gets the new one, whole or not at all, and says so itself."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.destination import (
    ClusterSettings,
    FileSettings,
    Kind,
    Reload,
    Settings,
    WebhookSettings,
    parse,
)
from broker.errors import Malformed
from broker.model import KeyRef
from clients.secret import Secret
from clients.venue import KeyType, Slot
from rotation.destinations.cluster import ANNOTATION, ClusterPlace
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import NotDelivered, Parcel, WrittenOver
from rotation.destinations.webhook import WebhookPlace
from tests.services import binaries
from tests.services.kubernetes_api.server import ADMIN, KubernetesApi, kubernetes_api

PEM = "-----BEGIN PRIVATE KEY-----\nplanted+secret/of=a\n-----END PRIVATE KEY-----\n"
SIGNING = "planted-signing-secret"


def parcel(version: int = 2, secret: str = "planted-secret") -> Parcel:
    ref = KeyRef("main", Slot.TRADE, version)
    return Parcel("rot_1", ref, "binance", f"KEY{version}", KeyType.ED25519, Secret(secret), lambda: None)


def dotenv(path: Path, **reload: Any) -> FilePlace:
    return FilePlace(Kind.DOTENV, FileSettings(str(path), "API_KEY", "API_SECRET", Reload(**reload)))


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["planted-secret", PEM, 'a"b\\c d#e', "a\\nb \\"])
def test_a_dotenv_file_keeps_all_that_is_not_ours(tmp_path: Path, secret: str) -> None:
    path = tmp_path / ".env"
    path.write_text("# my bot\nexport API_KEY=old # mine\nOTHER='x y'\n\nAPI_SECRET=\"old\"\nLAST=1\n")
    place = dotenv(path)
    place.deliver(parcel(secret=secret))
    text = path.read_text()
    assert text.startswith("# my bot\nexport API_KEY=KEY2\nOTHER='x y'\n\nAPI_SECRET=")
    assert text.endswith("\nLAST=1\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert place.confirm(parcel(secret=secret)) == ""


def test_a_file_that_is_not_there_is_made_and_an_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    dotenv(path).deliver(parcel())
    assert path.read_text() == "API_KEY=KEY2\nAPI_SECRET=planted-secret\n"
    os.chown(path, 12345, 12345)
    dotenv(path).deliver(parcel(3))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "KEY3" in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == [".env"], "nothing is left beside it"


def test_a_link_is_refused_and_what_it_points_at_stays(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.write_text("API_KEY=old\n")
    (tmp_path / ".env").symlink_to(real)
    with pytest.raises(NotDelivered, match="a link is refused"):
        dotenv(tmp_path / ".env").deliver(parcel())
    assert real.read_text() == "API_KEY=old\n"


def test_a_json_file_keeps_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  "name": "bot",\n  "exchange": {"key": "old", "pairs": ["BTC/USDT"]}\n}\n')
    settings = FileSettings(str(path), "/exchange/key", "/exchange/secret")
    place = FilePlace(Kind.JSON, settings)
    place.deliver(parcel(secret=PEM))
    found = json.loads(path.read_text())
    assert found == {
        "name": "bot", "exchange": {"key": "KEY2", "pairs": ["BTC/USDT"], "secret": PEM},
    }  # fmt: skip
    assert '\n  "name"' in path.read_text()
    assert place.confirm(parcel(secret=PEM)) == ""
    with pytest.raises(WrittenOver):
        place.confirm(parcel(3, PEM))


@pytest.mark.parametrize("text", ["not json", "[1]", '{"exchange": "text"}'])
def test_a_json_file_that_cannot_hold_it_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(NotDelivered):
        FilePlace(Kind.JSON, FileSettings(str(path), "/exchange/key", "/exchange/secret")).deliver(parcel())
    assert path.read_text() == text


def test_a_program_is_told_by_a_command_or_a_signal(tmp_path: Path) -> None:
    mark = tmp_path / "told"
    dotenv(tmp_path / ".env", command=("/usr/bin/touch", str(mark))).deliver(parcel())
    assert mark.exists()
    with pytest.raises(NotDelivered, match="ended with 1"):
        dotenv(tmp_path / ".env", command=("/bin/false",)).deliver(parcel())
    with pytest.raises(NotDelivered, match="TimeoutExpired"):
        dotenv(tmp_path / ".env", command=("/bin/sleep", "60"), timeout_s=0.2).deliver(parcel())
    code = "import signal, sys; signal.signal(signal.SIGHUP, lambda *_: sys.exit(7)); print(1, flush=True); signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        (tmp_path / "pid").write_text(str(child.pid))
        dotenv(tmp_path / ".env", pid_file=str(tmp_path / "pid"), signal="HUP").deliver(parcel())
        assert child.wait(60) == 7
    finally:
        child.stdout and child.stdout.close()
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
    with pytest.raises(NotDelivered, match="could not be told"):
        dotenv(tmp_path / ".env", pid_file=str(tmp_path / "nothing")).deliver(parcel())


def test_a_command_gets_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_KEK", "planted-secret")
    out = tmp_path / "environment"
    code = f"import os; open({str(out)!r}, 'w').write(repr(dict(os.environ)))"
    dotenv(tmp_path / ".env", command=(sys.executable, "-c", code)).deliver(parcel())
    assert "planted" not in out.read_text()


# --- webhook ----------------------------------------------------------------------------------


@dataclass
class Service:
    """Somebody's service that takes keys."""

    url: str = ""
    status: int = 200
    in_use: bool = True
    location: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def service() -> Iterator[Service]:
    here = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = dict(part.split("=", 1) for part in self.headers["Portcullis-Signature"].split(","))
            wanted = hmac.new(SIGNING.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
            if not hmac.compare_digest(wanted, parts["v1"]):
                here.wrong.append(self.headers["Portcullis-Signature"])
            document = json.loads(body)
            here.got.append(document | {"delivery": self.headers["Portcullis-Delivery"]})
            self.send_response(here.status)
            if here.location:
                self.send_header("Location", here.location)
            self.end_headers()
            self.wfile.write(json.dumps({"in_use": document["key"] if here.in_use else None}).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    here.url = f"http://127.0.0.1:{server.server_port}/keys"
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hook(url: str) -> WebhookPlace:
    return WebhookPlace(WebhookSettings(url), Secret(SIGNING), lambda: 1_764_000_000)


@pytest.mark.sockets
def test_a_webhook_is_signed_and_acknowledges_by_itself() -> None:
    with service() as here:
        place = hook(here.url)
        here.in_use = False
        place.deliver(parcel())
        assert "does not use it yet" in place.confirm(parcel())
        here.in_use = True
        assert place.confirm(parcel()) == ""
        assert here.wrong == []
        assert [one["secret"] for one in here.got] == ["planted-secret", None, None], "sent once"
        assert {one["delivery"] for one in here.got} == {"rot_1/main/trade/2"}


@pytest.mark.sockets
def test_a_webhook_that_fails_says_how_and_a_redirect_is_not_followed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with service() as here, service() as thief:
        here.status = 500
        with pytest.raises(NotDelivered, match="answered 500"):
            hook(here.url).deliver(parcel())
        here.status, here.location = 307, thief.url
        with pytest.raises(NotDelivered, match="answered 307"):
            hook(here.url).deliver(parcel())
        assert thief.got == []
    with pytest.raises(NotDelivered, match="does not answer"):
        hook(here.url).deliver(parcel())
    assert "planted" not in caplog.text


# --- Kubernetes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    binaries.need("etcd")
    binaries.need("kube-apiserver")
    with kubernetes_api(tmp_path_factory.mktemp("kubernetes")) as api:
        api.service_account("bots", "rotator")
        rules = [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
        ]
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/bots"
        api.call("POST", f"{rbac}/roles", {"metadata": {"name": "rotator"}, "rules": rules})
        bound = {
            "metadata": {"name": "rotator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rotator"},
            "subjects": [{"kind": "ServiceAccount", "name": "rotator", "namespace": "bots"}],
        }
        api.call("POST", f"{rbac}/rolebindings", bound)
        template = {
            "metadata": {"labels": {"app": "bot"}},
            "spec": {"containers": [{"name": "bot", "image": "example.invalid/bot:1"}]},
        }
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "bot"}}, "template": template}
        api.call(
            "POST", "/apis/apps/v1/namespaces/bots/deployments", {"metadata": {"name": "bot"}, "spec": spec}
        )
        yield api


DEPLOYMENT = "/apis/apps/v1/namespaces/bots/deployments/bot"


def controller(api: KubernetesApi, *, updated: int, available: int) -> None:
    """Play the controller that is missing here: report how far a roll-out is."""
    found = api.call("GET", DEPLOYMENT)
    found["status"] = {
        "observedGeneration": found["metadata"]["generation"], "replicas": 2, "updatedReplicas": updated,
        "availableReplicas": available, "readyReplicas": available,
    }  # fmt: skip
    api.call("PUT", f"{DEPLOYMENT}/status", found)


def in_cluster(api: KubernetesApi, token: str | None = None) -> ClusterPlace:
    settings = ClusterSettings(
        "bots", "binance-key", restart=("deployment/bot",), server=api.address, ca_file=str(api.ca)
    )
    return ClusterPlace(settings, Secret(token or api.token("bots", "rotator")))


@pytest.mark.sockets
def test_a_cluster_secret_is_patched_and_its_roll_out_awaited(cluster: KubernetesApi) -> None:
    place = in_cluster(cluster)
    place.deliver(parcel())
    assert "has not begun" in place.confirm(parcel())
    controller(cluster, updated=1, available=2)
    assert "1 of 2 replicas are restarted" in place.confirm(parcel())
    controller(cluster, updated=2, available=1)
    assert "1 of 2 replicas are available" in place.confirm(parcel())
    controller(cluster, updated=2, available=2)
    assert place.confirm(parcel()) == ""
    before = cluster.call("GET", DEPLOYMENT)["metadata"]["generation"]
    place.deliver(parcel())
    assert cluster.call("GET", DEPLOYMENT)["metadata"]["generation"] == before, "told twice, restarted once"
    place.deliver(parcel(3))
    assert "has not begun" in place.confirm(parcel(3))
    annotations = cluster.call("GET", DEPLOYMENT)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {ANNOTATION: "main/trade/3"}
    with pytest.raises(WrittenOver, match="holds another key"):
        place.confirm(parcel())


@pytest.mark.sockets
def test_other_fields_of_a_cluster_secret_stay(cluster: KubernetesApi) -> None:
    path = "/api/v1/namespaces/bots/secrets/binance-key"
    in_cluster(cluster).deliver(parcel())
    found = cluster.call("GET", path)
    cluster.call("PUT", path, found | {"data": found["data"] | {"other": "eA=="}})
    in_cluster(cluster).deliver(parcel(4))
    assert cluster.call("GET", path)["data"]["other"] == "eA=="


@pytest.mark.sockets
def test_a_cluster_that_refuses_is_named_without_the_key(cluster: KubernetesApi) -> None:
    cluster.service_account("bots", "nobody")
    with pytest.raises(NotDelivered, match="the cluster answered 403") as caught:
        in_cluster(cluster, cluster.token("bots", "nobody")).deliver(parcel())
    assert "planted" not in str(caught.value)
    with pytest.raises(NotDelivered, match="no server is named"):
        ClusterPlace(ClusterSettings("bots", "binance-key"), Secret(ADMIN)).deliver(parcel())


# --- what can be written down -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "where"),
    [
        ("ftp", {}, "kind"),
        ("dotenv", {"path": "relative", "key_id": "A", "secret": "B"}, "settings.path"),
        ("dotenv", {"path": "/a/../b", "key_id": "A", "secret": "B"}, "settings.path"),
        ("dotenv", {"path": "/a", "key_id": "A B", "secret": "B"}, "settings.key_id"),
        ("dotenv", {"path": "/a", "key_id": "A", "secret": "A"}, "settings.secret"),
        ("dotenv", {"path": "/a", "key_id": "A"}, "settings"),
        ("dotenv", {"path": "/a", "key_id": "A", "secret": "B", "mode": 1}, "settings"),
        ("dotenv", {"path": "/a", "key_id": "A", "secret": "B", "reload": {"command": ["sh"]}}, "settings.reload.command"),
        ("dotenv", {"path": "/a", "key_id": "A", "secret": "B", "reload": {"signal": "KILL"}}, "settings.reload.signal"),
        ("json", {"path": "/a", "key_id": "key", "secret": "/b"}, "settings.key_id"),
        ("webhook", {"url": "http://example.invalid/k"}, "settings.url"),
        ("webhook", {"url": "https://user:word@example.invalid/k"}, "settings.url"),
        ("kubernetes", {"namespace": "Bots", "secret": "s"}, "settings.namespace"),
        ("kubernetes", {"namespace": "bots", "secret": "s", "restart": ["pod/x"]}, "settings.restart"),
        ("kubernetes", {"namespace": "bots", "secret": "s", "server": "http://10.0.0.1"}, "settings.server"),
        ("manual", {"what": " "}, "settings.what"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_destination_says_which_field(
    kind: str, settings: dict[str, Any], where: str
) -> None:
    with pytest.raises(Malformed) as caught:
        parse(kind, settings)
    assert caught.value.problems[0].field == where


def test_settings_are_written_and_read_alike() -> None:
    found: Settings = parse("dotenv", {"path": "/a", "key_id": "A", "secret": "B"})[1]
    assert isinstance(found, FileSettings)
    assert found.reload == Reload()
