"""Whatever a store answers, who reads it gets what they expect, or one named error: never an unforeseen one."""

import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from broker.destination import ClusterSettings
from broker.errors import BrokerError, NotFound, StoreUnavailable
from broker.service.host_guard import facts_of, generation_of, mark_of
from broker.stores.embedded.store import EmbeddedStore
from broker.stores.vault.check import check
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.layout import VaultRole
from broker.stores.vault.session import Session
from broker.stores.vault.transit import Transit
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from rotation.destinations import cluster
from rotation.destinations.parcel import NotDelivered
from tests.contract.secret_store import LABELS, VALUES

PATH = "keys/main/trade/1"
WHOLE = dict.fromkeys(("request_id", "lease_id", "renewable", "data", "auth", "wrap_info", "warnings"))
GOOD: dict[str, Any] = {
    "lookup-self": {"ttl": 3600, "renewable": True, "policies": []},
    "renew-self": {"lease_duration": 3600, "renewable": True},
    "internal/ui/mounts": {"type": "kv", "options": {"version": "2"}},
    "/destroy/": {},
    "GET/metadata/keys": {
        "current_version": 1, "versions": {"1": {"destroyed": False}}, "custom_metadata": dict(LABELS),
    },
    "GET/data/keys": {"data": {name: one.reveal() for name, one in VALUES.items()}, "metadata": {"version": 1}},
}  # fmt: skip


class Vault(BaseAdapter):
    """Answers in the form of a whole answer: what is good, but for one kind of question."""

    def __init__(self) -> None:
        super().__init__()
        self.odd_at, self.odd = "", ""
        self.nothing = frozenset[str]()
        self.asked = 0

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        path = f"{request.method}{request.url.partition('/v1')[2].partition('?')[0]}".replace(
            "/portcullis", ""
        )
        path = f"{path}/list" if "list=" in request.url else path
        self.asked += 1
        made = requests.Response()
        made.request, made.url, made.status_code, made.raw = request, request.url, 200, io.BytesIO()
        said = next((json.dumps(known) for part, known in GOOD.items() if part in path), "{}")
        if any(one in path for one in self.nothing):
            made.status_code, whole = 404, '{"errors": []}'
        else:
            part = self.odd if self.odd_at and self.odd_at in path else said
            rest = json.dumps(WHOLE | {"lease_duration": 0})[1:-1].replace(
                '"data": null', f'"data": {part}'
            ).replace('"auth": null', f'"auth": {part}')  # fmt: skip
            whole = f"{{{rest}}}"
        made._content = whole.encode()
        return made

    def close(self) -> None: ...


class There:
    """A store, and what it asks."""

    def __init__(self, folder: Path) -> None:
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text("planted")
        self.now_s, self.vault = 0.0, Vault()
        self.session = Session(VaultConfig(("http://vault.test",), TokenAuth(token)), lambda: self.now_s)
        self.session._nodes[0].http.mount("http://", self.vault)
        self.store = VaultStore(self.session)

    def renewed(self) -> None:
        self.session.ask("log in", lambda _: None)
        self.now_s += 3000
        self.session.maintain()

    def written(self) -> None:
        self.vault.nothing = frozenset({"/metadata/keys", "GET/data/keys"})
        self.store.write(PATH, VALUES, LABELS)


READERS: dict[str, tuple[str, Callable[[There], object]]] = {
    "log in": ("lookup-self", lambda one: one.store.read(PATH)),
    "renew": ("renew-self", There.renewed),
    "mount": ("internal/ui/mounts", lambda one: one.store.look_at_mount()),
    "values": ("GET/data/keys", lambda one: one.store.read(PATH)),
    "labels": ("GET/metadata/keys", lambda one: one.store.metadata(PATH)),
    "write again": ("GET/metadata/keys", lambda one: one.store.write(PATH, VALUES, LABELS)),
    "write": ("/data/keys", There.written),
    "destroy": ("GET/metadata/keys", lambda one: one.store.destroy(PATH)),
    "paths": ("/metadata/keys", lambda one: one.store.paths("keys/")),
    "gates": ("/metadata/gates", lambda one: one.store.mirror.names()),
    "gate": ("/data/gates", lambda one: one.store.mirror.read("cut_1")),
    "gate changed": ("/data/gates", lambda one: one.store.mirror.change("cut_1", lambda _: "x")),
    "sign": ("/transit/sign", lambda one: Transit(one.session, "k").sign(b"x")),
    "verify": ("/transit/verify", lambda one: Transit(one.session, "k").is_signed(b"x", "s")),
    "rights": ("capabilities-self", lambda one: check(one.session, (VaultRole.BROKER,))),
}
FIELDS = (
    "data", "metadata", "keys", "current_version", "versions", "custom_metadata", "version", "type", "options", "ttl",
    "renewable", "signature", "valid", "lease_duration",
)  # fmt: skip
HUGE, DEEP = "9" * 401, "[" * 40 + "]" * 40
ODD = {
    "null": "null", "list": "[]", "maps in a list": "[{}]", "text": '"x"', "number": "5", "truth": "true",
    "nothing": "{}",
    **{
        f"all {name}": "{" + ", ".join(f'"{field}": {part}' for field in FIELDS) + "}"
        for name, part in {
            "nulls": "null", "lists": "[]", "lists of lists": DEEP, "maps": "{}", "numbers in maps": '{"1": 5}',
            "texts": '"x"', "half characters": '"\\ud800"', "umlauts": '"\\u00fc"', "truths": "true",
            "below nothing": "-1", "huge": HUGE, "endless": "1e999", "no numbers": "NaN",
            "half names": '["\\ud800"]', "numbers in lists": "[1]", "names of nothing": '["/"]',
        }.items()
    },
}  # fmt: skip
FITS = {
    ("values", "all maps"),
    ("sign", "all texts"), ("sign", "all umlauts"), ("verify", "all truths"),
    ("paths", "all lists"), ("gates", "all lists"), ("rights", "all lists"), ("rights", "all half names"), ("rights", "all names of nothing"),
}  # fmt: skip
"""What is as it should be there."""


@pytest.mark.parametrize("reader", READERS)
def test_what_vault_answers_oddly_is_one_error_of_the_store(tmp_path: Path, reader: str) -> None:
    """It was a TypeError, a KeyError or an AttributeError where it was read after it was asked; or even an answer."""
    at, read = READERS[reader]
    wrong = []
    for name, odd in ODD.items():
        one = There(tmp_path)
        one.vault.odd_at, one.vault.odd = at, odd
        try:
            found = read(one)
        except StoreUnavailable as fault:
            if "planted" in str(fault):
                wrong.append(f"{name}: it quotes")
            continue
        except Exception as fault:  # noqa: BLE001 - each is told
            wrong.append(f"{name}: {fault!r}")
            continue
        if (reader, name) not in FITS:
            wrong.append(f"{name}: was read as {found!r}")
    assert not wrong, "\n".join(wrong)


READ_WELL = (
    "log in",
    "renew",
    "mount",
    "values",
    "labels",
    "write again",
    "destroy",
    "paths",
    "gates",
    "gate",
)


@pytest.mark.parametrize("reader", READ_WELL)
def test_what_vault_answers_as_it_does_is_read(tmp_path: Path, reader: str) -> None:
    one = There(tmp_path)
    if reader in {"paths", "gates"}:
        one.vault.odd_at, one.vault.odd = "/metadata/", '{"keys": ["a", "\\u00fc b", "-x"]}'
    if reader == "gate":
        one.vault.odd_at, one.vault.odd = (
            "/data/gates",
            '{"data": {"document": 5}, "metadata": {"version": 3}}',
        )
    if reader == "destroy":
        one.vault.odd_at = "GET/metadata/keys"
        one.vault.odd = json.dumps(GOOD["GET/metadata/keys"] | {"versions": {"1": {"destroyed": True}}})
    READERS[reader][1](one)


def test_a_version_that_is_not_told_of_is_not_destroyed(tmp_path: Path) -> None:
    """A missing fact is never a yes: with no word of version 1 the secret counted as destroyed for good."""
    one = There(tmp_path)
    one.vault.odd_at, one.vault.odd = (
        "GET/metadata/keys",
        json.dumps(GOOD["GET/metadata/keys"] | {"versions": {}}),
    )
    one.vault.nothing = frozenset({"GET/data/keys"})
    with pytest.raises(StoreUnavailable):
        one.store.read(PATH)
    one.vault.odd = json.dumps(
        {"current_version": 2, "versions": {"2": {"destroyed": False}}, "custom_metadata": None}
    )
    with pytest.raises(NotFound, match="destroyed"):
        one.store.read(PATH)


def test_folders_in_folders_without_end_are_not_followed_for_ever(tmp_path: Path) -> None:
    one = There(tmp_path)
    one.vault.odd_at, one.vault.odd = "/metadata/", '{"keys": ["x/"]}'
    with pytest.raises(StoreUnavailable, match="without end"):
        one.store.paths("keys/")
    assert one.vault.asked < 30


def test_a_value_that_is_missing_is_an_error_of_the_store(tmp_path: Path) -> None:
    """It was a KeyError for whoever looked for it: a lease, an alert, a login, a delivery."""
    one = There(tmp_path)
    one.vault.odd_at, one.vault.odd = (
        "GET/data/keys",
        '{"data": {"sekret": "planted"}, "metadata": {"version": 1}}',
    )
    here = EmbeddedStore(tmp_path / "secrets.db", Secret("A" * 43 + "="), 1)
    here.write(PATH, {"sekret": Secret("planted")}, LABELS)
    for held in (one.store.read(PATH), here.read(PATH)):
        assert held.get("secret") is None
        with pytest.raises(StoreUnavailable, match=f"{PATH}.* has no secret") as fault:
            held["secret"]
        assert "planted" not in str(fault.value)
    here.close()


# --- the embedded store -----------------------------------------------------------------------

CHANGES = {
    f"{table}.{column} = {value}": f"UPDATE {table} SET {column} = {value}"  # noqa: S608 - our own words
    for table, column, values in (
        ("secrets", "metadata", ("'['", "'[]'", "'null'", "'{\"a\": 5}'", "x'00ff'", "5", f"'{DEEP}'")),
        ("secrets", "sealed", ("'text'", "5", "x''", "x'00'", "zeroblob(40)")),
        ("secrets", "path", ("x'00ff'",)),
        ("gates", "name", ("x'00ff'",)),
        ("gates", "document", ("x'00ff'", "5")),
        ("facts", "value", ("'x'", "x'00'", f"'{HUGE}'")),
        ("data_key", "sealed", ("'text'", "x''", "5")),
    )
    for value in values
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_somebody_changed_in_the_embedded_store_is_one_error_of_it(tmp_path: Path, change: str) -> None:
    file, key = tmp_path / "secrets.db", Secret("A" * 43 + "=")
    store = EmbeddedStore(file, key, 1)
    store.write(PATH, VALUES, LABELS)
    store.mirror.change("cut_1", lambda _: "x")
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute(CHANGES[change])
    connection.close()
    seen = 0
    try:
        store = EmbeddedStore(file, key)
    except StoreUnavailable:
        return
    readers: tuple[Callable[[], object], ...] = (
        lambda: store.read(PATH), lambda: store.metadata(PATH), lambda: store.paths(""), store.key_since_us,
        lambda: store.write(PATH, VALUES, LABELS), store.mirror.names, lambda: store.mirror.read("cut_1"),
        lambda: store.mirror.change("cut_1", lambda _: "y"),
    )  # fmt: skip
    for read in readers:
        try:
            read()
        except BrokerError:
            seen += 1
        except Exception as fault:  # noqa: BLE001 - each is told
            pytest.fail(f"{fault!r}")
    store.close()
    assert seen or "document" in change


# --- what the guard reads of it ---------------------------------------------------------------


@pytest.mark.parametrize("record", ["null", HUGE, "-1", "1e9", "true", "[]", '"1"', str(2**63)])
@pytest.mark.parametrize("digest", ['"d"', "null", "[]", '"\\ud800"'])
@pytest.mark.parametrize("history", ['"1.0..w"', "null", "5", '"\\ud800.0..w"', '"1.0..\\ud800"'])
def test_an_odd_mark_is_one_that_cannot_be_understood(record: str, digest: str, history: str) -> None:
    """A number that no database holds went into a question of the guard's, and came back as an OverflowError."""
    with pytest.raises(StoreUnavailable, match="cannot be understood"):
        mark_of(f'{{"history": {history}, "record": {record}, "digest": {digest}}}')


@pytest.mark.parametrize("digest", ["null", "[]", '"\\ud800"'])
def test_so_is_a_digest_that_is_no_text(digest: str) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be understood"):
        mark_of(f'{{"history": "1.0..w", "record": 1, "digest": {digest}}}')
    assert mark_of('{"history": "1.0..w", "record": 1, "digest": "d"}').seq == 1


@pytest.mark.parametrize("odd", ["null", "[]", '"x"', "5", DEEP, "{", "[" * 100_000])
def test_an_odd_claim_is_one_that_cannot_be_understood(odd: str) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be understood"):
        facts_of(odd)
    for value in (None, "1", 1.0, True, [], {}):
        assert generation_of({"generation": value}) > 10**12, "it is beyond ours: nothing is served"


# --- Kubernetes -------------------------------------------------------------------------------

SETTINGS = ClusterSettings("ns", "name", "key_id", "secret", ("deployment/bot",), "https://127.0.0.1:9", "")


def rolled_out(**status: object) -> Any:
    told = {"observed_generation": 1, "replicas": 1, "updated_replicas": 1, "available_replicas": 1} | status
    annotations = {cluster.ANNOTATION: "main/trade/2"}
    return SimpleNamespace(
        metadata=SimpleNamespace(generation=1), status=SimpleNamespace(**told),
        spec=SimpleNamespace(replicas=1, template=SimpleNamespace(metadata=SimpleNamespace(annotations=annotations))),
    )  # fmt: skip


@pytest.mark.parametrize(
    "field", ["observed_generation", "replicas", "updated_replicas", "available_replicas"]
)
@pytest.mark.parametrize("value", ["1", True, [], {}, float("inf"), -1])
def test_a_number_of_the_clusters_that_is_none_confirms_nothing(field: str, value: object) -> None:
    assert cluster._awaited("deployment", rolled_out(), "main/trade/2") == ""
    with pytest.raises(TypeError):
        cluster._awaited("deployment", rolled_out(**{field: value}), "main/trade/2")


@pytest.mark.parametrize("data", [[], "x", 5, [1]])
def test_what_a_cluster_answers_oddly_is_a_delivery_that_failed(
    data: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was an AttributeError of the rotator's, whose text may quote."""
    core = SimpleNamespace(read_namespaced_secret=lambda *_, **__: SimpleNamespace(data=data))
    monkeypatch.setattr(cluster, "CoreV1Api", lambda _: core)
    parcel: Any = SimpleNamespace(key_id="K", secret=Secret("planted"), ref="main/trade/2", look=lambda: None)
    with pytest.raises(NotDelivered, match="odd") as fault:
        cluster.ClusterPlace(SETTINGS, Secret("token")).confirm(parcel)
    assert "planted" not in str(fault.value)
