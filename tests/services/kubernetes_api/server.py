"""A real Kubernetes API on loopback: etcd and kube-apiserver. No kubelet, no controllers: pods never run."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.services import binaries
from tests.services.vault.server import free_port

ADMIN = "admin-of-a-test"
START_S = 120.0


@dataclass(slots=True)
class KubernetesApi:
    """An API server we started; `ca` proves it."""

    address: str
    ca: Path
    http: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call as the administrator; 409 (there already) is fine."""
        answer = self.http.request(
            method, self.address + path, json=body, verify=str(self.ca), timeout=30,
            headers={"Authorization": f"Bearer {ADMIN}"},
        )  # fmt: skip
        assert answer.ok or answer.status_code == requests.codes.conflict, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def service_account(self, namespace: str, name: str) -> None:
        """Make a namespace and a service account where there is none."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})

    def token(self, namespace: str, name: str, audience: str = "", seconds: int = 600) -> str:
        """Return a projected token of a service account, as a kubelet would put it into a pod."""
        spec: dict[str, Any] = {"expirationSeconds": seconds}
        if audience:
            spec["audiences"] = [audience]
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.call(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        )
        return str(answer["status"]["token"])

    def may_review_tokens(self, namespace: str, name: str) -> None:
        """Let a service account ask whose a token is."""
        self.call(
            "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {
                "metadata": {"name": f"{namespace}-{name}-reviews"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        )  # fmt: skip


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[KubernetesApi]:
    """Run etcd and an API server."""
    etcd, server = binaries.find("etcd"), binaries.find("kube-apiserver")
    assert etcd is not None
    assert server is not None
    clients, peers, secure = free_port(), free_port(), free_port()
    _service_account_key(folder)
    (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n')
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    commands = (
        (
            str(etcd), "--data-dir", str(folder / "etcd"), "--listen-client-urls", f"http://127.0.0.1:{clients}",
            "--advertise-client-urls", f"http://127.0.0.1:{clients}", "--listen-peer-urls", f"http://127.0.0.1:{peers}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers}", "--initial-cluster", f"default=http://127.0.0.1:{peers}",
        ),
        (
            str(server), f"--etcd-servers=http://127.0.0.1:{clients}", "--bind-address=127.0.0.1", f"--secure-port={secure}",
            f"--cert-dir={folder / 'certs'}", f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24",
        ),
    )  # fmt: skip
    api = KubernetesApi(f"https://127.0.0.1:{secure}", folder / "certs" / "apiserver.crt")
    with contextlib.ExitStack() as stack:
        stack.callback(api.http.close)
        log = stack.enter_context((folder / "kubernetes.log").open("ab"))
        processes = []
        for command in commands:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )
            processes.append(process)
            stack.callback(_end, process)
        end = time.monotonic() + START_S
        while True:
            assert all(one.poll() is None for one in processes), (folder / "kubernetes.log").read_text()[
                -3000:
            ]
            assert time.monotonic() < end, (folder / "kubernetes.log").read_text()[-3000:]
            with contextlib.suppress(requests.exceptions.RequestException, OSError):
                if api.http.get(f"{api.address}/readyz", verify=str(api.ca), timeout=5).ok:
                    break
            time.sleep(0.05)
        yield api


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)


def _service_account_key(folder: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    (folder / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "sa.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
