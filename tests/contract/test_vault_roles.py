"""Each role tried on a real Vault for everything it must not do, and for what it must."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hvac
import pytest

from broker.errors import Conflict, NotFound, StoreUnavailable
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.layout import RULES, VaultRole, policy, policy_name
from broker.stores.vault.session import Session
from broker.stores.vault.setup import Plan, apply
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from tests.services import binaries
from tests.services.vault.server import VaultServer

TREES = ("keys", "virtual", "gates", "inbox", "managers", "responders", "elsewhere")
DEEDS = (
    "create",
    "read",
    "update",
    "patch",
    "delete-version",
    "undelete",
    "destroy",
    "read-labels",
    "label",
    "list",
    "forget",
)
_RIGHT = {
    "create": ("data", "create"), "read": ("data", "read"), "update": ("data", "update"), "patch": ("data", "patch"),
    "delete-version": ("delete", "update"), "undelete": ("undelete", "update"), "destroy": ("destroy", "update"),
    "read-labels": ("metadata", "read"), "label": ("metadata", "update"), "list": ("metadata", "list"),
    "forget": ("metadata", "delete"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mounts() -> Iterator[str]:
    return (f"roles-{number}" for number in itertools.count(1))


@pytest.fixture
def mount(vault: VaultServer, mounts: Iterator[str]) -> str:
    name = next(mounts)
    apply(vault.client(), Plan(name, auth_mount=f"{name}-approle").steps())
    return name


def holder(vault: VaultServer, mount: str, role: VaultRole) -> hvac.Client:
    made = vault.client().auth.token.create(policies=[policy_name(role, mount)], no_default_policy=True)
    return vault.client(made["auth"]["client_token"])


def deed(client: hvac.Client, mount: str, name: str, path: str) -> Callable[[], object]:
    kv, folder = client.secrets.kv.v2, path.rpartition("/")[0]
    return {
        "create": lambda: kv.create_or_update_secret(f"{path}-new", {"a": "b"}, cas=0, mount_point=mount),
        "read": lambda: kv.read_secret_version(path, version=1, mount_point=mount, raise_on_deleted_version=True),
        "update": lambda: kv.create_or_update_secret(path, {"a": "c"}, cas=1, mount_point=mount),
        "patch": lambda: client.adapter.request(
            "patch", f"/v1/{mount}/data/{path}", json={"options": {"cas": 1}, "data": {"a": "d"}},
            headers={"Content-Type": "application/merge-patch+json"},
        ),
        "delete-version": lambda: kv.delete_secret_versions(path, versions=[1], mount_point=mount),
        "undelete": lambda: kv.undelete_secret_versions(path, versions=[1], mount_point=mount),
        "destroy": lambda: kv.destroy_secret_versions(path, versions=[1], mount_point=mount),
        "read-labels": lambda: kv.read_secret_metadata(path, mount_point=mount),
        "label": lambda: kv.update_metadata(path, custom_metadata={"a": "b"}, mount_point=mount),
        "list": lambda: kv.list_secrets(folder, mount_point=mount),
        "forget": lambda: kv.delete_metadata_and_all_versions(path, mount_point=mount),
    }[name]  # fmt: skip


@pytest.mark.parametrize("role", list(VaultRole))
def test_a_role_may_do_what_its_rules_say_and_nothing_else(
    vault: VaultServer, mount: str, role: VaultRole
) -> None:
    root, client = vault.client(), holder(vault, mount, role)
    allowed = {(rule.part, rule.tree, one) for rule in RULES[role] for one in rule.capabilities}
    tried = 0
    for tree, name in itertools.product(TREES, DEEDS):
        path = f"{tree}/main/{name}"
        root.secrets.kv.v2.create_or_update_secret(path, {"a": "b"}, cas=0, mount_point=mount)
        part, right = _RIGHT[name]
        may = (part, tree, right) in allowed
        try:
            deed(client, mount, name, path)()
            did = True
        except hvac.exceptions.Forbidden:
            did = False
        assert did is may, f"{role} {name} {tree}: may {may}, did {did}"
        tried += 1
    assert tried == len(TREES) * len(DEEDS)


@pytest.mark.parametrize("role", list(VaultRole))
def test_a_role_may_touch_nothing_of_vault_itself(vault: VaultServer, mount: str, role: VaultRole) -> None:
    client = holder(vault, mount, role)
    for path in (
        "sys/mounts", "sys/policies/acl/root", "sys/seal", "sys/auth", "sys/audit", "auth/token/create", "sys/leases/lookup",
        f"auth/{mount}-approle/role/portcullis-rotator/secret-id", f"auth/{mount}-approle/role/portcullis-broker/role-id",
        f"{mount}/config", f"sys/mounts/{mount}", "sys/remount", "sys/raw/x", "sys/rotate", "cubbyhole/x",
    ):  # fmt: skip
        for method in ("get", "post", "delete", "list"):
            with pytest.raises(
                (hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath, hvac.exceptions.UnexpectedError)
            ):
                client.adapter.request(method, f"/v1/{path}", json={} if method == "post" else None)


@pytest.mark.parametrize("role", [VaultRole.BROKER, VaultRole.ROTATOR])
def test_vault_itself_keeps_a_path_write_once(vault: VaultServer, mount: str, role: VaultRole) -> None:
    client = holder(vault, mount, role)
    path = "virtual/g/1" if role is VaultRole.BROKER else "keys/a/trade/1"
    kv = client.secrets.kv.v2
    kv.create_or_update_secret(path, {"a": "b"}, cas=0, mount_point=mount)
    for cas in (0, 1):
        with pytest.raises(hvac.exceptions.Forbidden):
            kv.create_or_update_secret(path, {"a": "stolen"}, cas=cas, mount_point=mount)
    kv.destroy_secret_versions(path, versions=[1], mount_point=mount)
    for cas in (0, 1):
        with pytest.raises(hvac.exceptions.Forbidden):
            kv.create_or_update_secret(path, {"a": "stolen"}, cas=cas, mount_point=mount)


def test_setting_up_twice_is_once_and_leaves_other_things_alone(vault: VaultServer, mount: str) -> None:
    plan = Plan(mount, auth_mount=f"{mount}-approle")
    vault.client().secrets.kv.v2.create_or_update_secret(
        "keys/a/trade/1", {"a": "b"}, cas=0, mount_point=mount
    )
    done = apply(vault.client(), plan.steps())
    assert sum("there already" in line for line in done) == 2
    assert vault.client().secrets.kv.v2.read_secret_metadata("keys/a/trade/1", mount_point=mount)
    vault.client().sys.enable_secrets_engine("transit", path=f"{mount}-transit")
    with pytest.raises(Conflict, match="something else"):
        apply(vault.client(), Plan(f"{mount}-transit").steps())


@pytest.mark.parametrize("prefix", ["", "team/one"])
def test_the_printed_plan_does_the_same_by_hand(
    vault: VaultServer, mounts: Iterator[str], prefix: str
) -> None:
    plan = Plan(next(mounts), prefix, auth_mount="by-hand" + prefix.replace("/", "-"))
    binary = binaries.find("vault")
    assert binary is not None
    for step in plan.steps():
        subprocess.run(
            ("bash", "-ceu", step.as_command()), check=True, capture_output=True, timeout=120,
            env={"PATH": f"{binary.parent}:{os.environ['PATH']}", "HOME": str(vault.folder),
                 "VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.root},
        )  # fmt: skip
    for role in VaultRole:
        name = policy_name(role, plan.mount, prefix)
        assert vault.client().sys.read_policy(name)["data"]["rules"] == policy(role, plan.mount, prefix)
    again = apply(vault.client(), plan.steps())
    assert len(again) == len(plan.steps())


def test_what_a_person_brings_passes_from_the_broker_to_the_rotator(
    vault: VaultServer, mount: str, tmp_path: Path
) -> None:
    """The broker puts it into the inbox and cannot read it back; the rotator reads and destroys it."""

    def store(role: VaultRole) -> VaultStore:
        token = tmp_path / role.value
        token.write_text(holder(vault, mount, role).token)
        token.chmod(0o600)
        return VaultStore(Session(VaultConfig((vault.address,), TokenAuth(token), mount)))

    broker, rotator = store(VaultRole.BROKER), store(VaultRole.ROTATOR)
    broker.write("inbox/sec_1", {"secret": Secret("planted-hmac-secret")}, {"rotation": "rot_1"})
    with pytest.raises(StoreUnavailable):
        broker.read("inbox/sec_1")
    with pytest.raises(StoreUnavailable):
        broker.destroy("inbox/sec_1")
    assert rotator.read("inbox/sec_1")["secret"].reveal() == "planted-hmac-secret"
    rotator.destroy("inbox/sec_1")
    with pytest.raises(NotFound):
        rotator.read("inbox/sec_1")
