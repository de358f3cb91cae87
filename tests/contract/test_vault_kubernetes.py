"""Logging in to a real Vault with projected tokens of a real Kubernetes API."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.stores.vault.check import check
from broker.stores.vault.config import KubernetesAuth, VaultConfig
from broker.stores.vault.layout import VaultRole
from broker.stores.vault.session import Session
from broker.stores.vault.setup import KubernetesBinding, Plan, apply
from tests.services import binaries
from tests.services.kubernetes_api.server import KubernetesApi, kubernetes_api
from tests.services.vault.server import VaultServer, dev_vault

PLUGIN = "vault-plugin-auth-kubernetes"
SPACE, AUDIENCE = "trading", "vault"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    binaries.need("etcd", "kube-apiserver")
    with kubernetes_api(tmp_path_factory.mktemp("kubernetes")) as api:
        for name in ("portcullis-broker", "portcullis-run", "some-bot"):
            api.service_account(SPACE, name)
        api.service_account("elsewhere", "portcullis-broker")
        api.service_account(SPACE, "vault")
        api.may_review_tokens(SPACE, "vault")
        yield api


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, cluster: KubernetesApi) -> Iterator[VaultServer]:
    binaries.need("vault", PLUGIN)
    plugins = tmp_path_factory.mktemp("plugins")
    shutil.copy(binaries.find(PLUGIN) or "", plugins / PLUGIN)
    with dev_vault(tmp_path_factory.mktemp("vault"), plugins) as server:
        root = server.client()
        # Vault built with few tags has no kubernetes of its own: the plugin comes under its long name
        root.sys.enable_auth_method(PLUGIN, path="kubernetes")
        root.adapter.post(
            "/v1/auth/kubernetes/config",
            json={
                "kubernetes_host": cluster.address, "kubernetes_ca_cert": cluster.ca.read_text(),
                "token_reviewer_jwt": cluster.token(SPACE, "vault"), "disable_local_ca_jwt": True,
            },
        )  # fmt: skip
        plan = Plan("portcullis", way="kubernetes", binding=KubernetesBinding(SPACE, AUDIENCE))
        apply(root, [step for step in plan.steps() if step.path != "sys/auth/kubernetes"])
        yield server


@pytest.fixture
def config(vault: VaultServer, tmp_path: Path) -> VaultConfig:
    auth = KubernetesAuth("portcullis-broker", tmp_path / "token")
    return VaultConfig((vault.address,), auth, timeout_s=30)


def own(config: VaultConfig) -> dict[str, object]:
    session = Session(config)
    try:
        found: dict[str, object] = session.ask("look", lambda client: client.auth.token.lookup_self())["data"]
        return found
    finally:
        session.close()


def test_a_pod_logs_in_with_its_projected_token(
    cluster: KubernetesApi, config: VaultConfig, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(cluster.token(SPACE, "portcullis-broker", AUDIENCE))
    facts = own(config)
    assert facts["policies"] == ["portcullis-broker"]
    assert facts["period"] == 3600
    session = Session(config)
    assert [one.what for one in check(session, (VaultRole.BROKER,)) if not one.well] == []
    session.close()


@pytest.mark.parametrize(
    ("space", "account", "audience"),
    [
        (SPACE, "portcullis-broker", "someone-else"),
        (SPACE, "portcullis-broker", ""),
        (SPACE, "some-bot", AUDIENCE),
        (SPACE, "portcullis-run", AUDIENCE),
        ("elsewhere", "portcullis-broker", AUDIENCE),
    ],
)
def test_no_other_pod_logs_in_as_the_broker(
    cluster: KubernetesApi, config: VaultConfig, tmp_path: Path, space: str, account: str, audience: str
) -> None:
    (tmp_path / "token").write_text(cluster.token(space, account, audience))
    with pytest.raises(StoreUnavailable, match="service-account token") as caught:
        own(config)
    assert caught.value.reason == "vault_login"


def test_a_forged_token_does_not_log_in(cluster: KubernetesApi, config: VaultConfig, tmp_path: Path) -> None:
    head, body, _ = cluster.token(SPACE, "portcullis-broker", AUDIENCE).split(".")
    (tmp_path / "token").write_text(f"{head}.{body}.{'A' * 342}")
    with pytest.raises(StoreUnavailable, match="service-account token"):
        own(config)


def test_the_token_is_read_anew_at_every_login(
    vault: VaultServer, cluster: KubernetesApi, config: VaultConfig, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(cluster.token(SPACE, "portcullis-broker", AUDIENCE))
    session = Session(config)
    session.maintain()
    assert session._token is not None
    vault.client().auth.token.revoke(session._token.value.reveal())
    path.write_text(cluster.token(SPACE, "some-bot", AUDIENCE))
    with pytest.raises(StoreUnavailable, match="service-account token"):
        session.maintain()
    path.write_text(cluster.token(SPACE, "portcullis-broker", AUDIENCE))
    session.maintain()
    session.close()


def test_the_run_role_is_both(cluster: KubernetesApi, config: VaultConfig, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(cluster.token(SPACE, "portcullis-run", AUDIENCE))
    facts = own(replace(config, auth=KubernetesAuth("portcullis-run", tmp_path / "token")))
    assert facts["policies"] == ["portcullis-broker", "portcullis-rotator"]
