"""Keys to a Kubernetes Secret: patched, what uses it restarted, and the roll-out awaited.

Rules:
1. Only the two fields named are written; the rest of the Secret stays. A Secret that is not there is made.
2. What is to restart is told by an annotation of its pods that names the key version: told twice it restarts once.
3. The parcel looks before the body of each request leaves, once its connection is there (`clients.pools`): where the
   end keeps none, the next request waits for a name, TCP and TLS anew.
4. It is confirmed when the Secret still holds the key and every replica is of the roll-out of that annotation.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client as api
from kubernetes import config
from kubernetes.client import AppsV1Api, CoreV1Api
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from broker.destination import ClusterSettings
from clients.bounds import MIB, Bounds, OutOfBounds, within
from clients.pools import bound
from clients.secret import Secret
from rotation.destinations.parcel import PATIENCE_S, NotDelivered, Parcel, WrittenOver

ANNOTATION = "portcullis.dev/key-version"
_PAIR_S = (PATIENCE_S / 4, PATIENCE_S / 2)
_GONE = 404


class ClusterPlace:
    """A Secret in a cluster; `token` None: the rotator's own service account."""

    def __init__(self, settings: ClusterSettings, token: Secret | None) -> None:
        self._settings, self._token = settings, token

    def deliver(self, parcel: Parcel) -> None:
        """Write the Secret, then have what uses it restarted."""
        here = self._settings
        data = self._data(parcel)
        with self._asking(parcel.look) as client:
            core, apps = CoreV1Api(client), AppsV1Api(client)
            try:
                core.patch_namespaced_secret(
                    here.secret, here.namespace, {"data": data}, _request_timeout=_PAIR_S
                )
            except ApiException as fault:
                if fault.status != _GONE:
                    raise
                made = api.V1Secret(metadata=api.V1ObjectMeta(name=here.secret), type="Opaque", data=data)
                core.create_namespaced_secret(here.namespace, made, _request_timeout=_PAIR_S)
            note = {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: str(parcel.ref)}}}}}
            for one in here.restart:
                kind, _, name = one.partition("/")
                patch = getattr(apps, f"patch_namespaced_{_KINDS[kind]}")
                patch(name, here.namespace, note, _request_timeout=_PAIR_S)

    def confirm(self, parcel: Parcel) -> str:
        """Look whether the Secret holds it, and every replica runs with it."""
        here = self._settings
        with self._asking() as client:
            core, apps = CoreV1Api(client), AppsV1Api(client)
            found = core.read_namespaced_secret(here.secret, here.namespace, _request_timeout=_PAIR_S).data
            found = {} if found is None else found
            if any(found.get(name) != value for name, value in self._data(parcel).items()):
                raise WrittenOver(
                    f"the Secret {here.namespace}/{here.secret} holds another key: somebody wrote over it"
                )
            for one in here.restart:
                kind, _, name = one.partition("/")
                read = getattr(apps, f"read_namespaced_{_KINDS[kind]}")
                awaited = _awaited(
                    kind, read(name, here.namespace, _request_timeout=_PAIR_S), str(parcel.ref)
                )
                if awaited:
                    return f"{one}: {awaited}"
        return ""

    def _data(self, parcel: Parcel) -> dict[str, str | bytes]:
        pairs = (
            (self._settings.key_id_field, parcel.key_id),
            (self._settings.secret_field, parcel.secret.reveal()),
        )
        return {name: base64.b64encode(value.encode()).decode() for name, value in pairs}

    @contextmanager
    def _asking(self, look: Callable[[], object] = lambda: None) -> Iterator[api.ApiClient]:
        """Lend a client; `look` is asked before each body that it sends."""
        settings = api.Configuration()
        if self._settings.server:
            settings.host = self._settings.server
            settings.ssl_ca_cert = self._settings.ca_file or None
        else:
            try:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
            except config.ConfigException:
                raise NotDelivered("no server is named, and this is no pod of a cluster") from None
        if self._token is not None:
            settings.api_key = {"authorization": f"Bearer {self._token.reveal()}"}
        settings.retries = False
        with api.ApiClient(settings) as client:
            bound(client.rest_client.pool_manager, look)
            try:
                with within(Bounds(PATIENCE_S / 2, 16 * MIB)):
                    yield client
            except ApiException as fault:
                raise NotDelivered(f"the cluster answered {fault.status} {fault.reason}") from None
            except OutOfBounds as fault:
                raise NotDelivered(f"the cluster does not answer ({fault})") from None
            except HTTPError as fault:
                raise NotDelivered(f"the cluster does not answer ({type(fault).__name__})") from None
            except _ODD as fault:  # its text may quote
                raise NotDelivered(
                    f"the cluster answered something odd ({type(fault).__name__}): is it Kubernetes that answers?"
                ) from None


_ODD = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What the client and we stumble over in an answer that has not the form expected."""

_KINDS = {"deployment": "deployment", "statefulset": "stateful_set", "daemonset": "daemon_set"}


def _awaited(kind: str, found: Any, version: str) -> str:
    """Return what a roll-out still waits for; empty where every replica is of it."""
    annotations = found.spec.template.metadata.annotations or {}
    if annotations.get(ANNOTATION) != version:
        return "it was told of another key since"
    status = found.status
    if _count(status.observed_generation) < _count(found.metadata.generation, missing=None):
        return "the cluster has not begun to restart it"
    if kind == "daemonset":
        wanted = _count(status.desired_number_scheduled, missing=None)
        fresh, ready = _count(status.updated_number_scheduled), _count(status.number_available)
    else:
        wanted = _count(found.spec.replicas, missing=1)
        fresh, ready = _count(status.updated_replicas), _count(status.available_replicas)
        if _count(status.replicas) > wanted:
            return "old replicas still run"
    if fresh < wanted:
        return f"{fresh} of {wanted} replicas are restarted"
    return "" if ready >= wanted else f"{ready} of {wanted} replicas are available"


def _count(found: Any, missing: int | None = 0) -> int:
    """Return a number of the cluster's; what it leaves out is none there, where `missing` says so."""
    told = missing if found is None else found
    if type(told) is not int or told < 0:
        raise TypeError("a number is expected")
    return told
