"""What has to be set up in Vault once: mount, policies, roles. A plan that can be shown, and applied.

Rules:
1. Applying twice is the same as once. What is there and is not ours is left alone and said.
2. Roles get periodic tokens: renewed they live on, unrenewed they are over within an hour.
3. The plan holds no secret. Secret ids are made by whoever starts a process, one by one, wrapped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

from broker.errors import Conflict
from broker.stores.vault import shapes
from broker.stores.vault.layout import TRANSIT_KEY, VaultRole, policy, policy_name

Way = Literal["approle", "kubernetes"]
PERIOD = "1h"


@dataclass(frozen=True, slots=True)
class Step:
    """One call: `POST path` with a body, and why."""

    why: str
    path: str
    body: Mapping[str, Any]
    exists: str = ""
    """A path whose answer tells that this was done before."""

    def as_command(self) -> str:
        """Return the call as a command for Vault's own program."""
        if self.path.startswith("sys/policies/acl/"):
            name = self.path.rsplit("/", 1)[1]
            return f"vault policy write {name} - <<'HCL'\n{self.body['policy']}HCL"
        return f"vault write {self.path} - <<'JSON'\n{json.dumps(self.body)}\nJSON"


_TRANSIT = (
    Step("the engine that countersigns", "sys/mounts/transit", {"type": "transit"}, "sys/mounts/transit"),
    Step("the key that countersigns the audit trail", f"transit/keys/{TRANSIT_KEY}", {"type": "ed25519"}),
)


@dataclass(frozen=True, slots=True)
class KubernetesBinding:
    """Which service accounts may be our roles: name `portcullis-<role>` in one namespace."""

    namespace: str = "portcullis"
    audience: str = "vault"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to set up, in order."""

    mount: str
    prefix: str = ""
    way: Way = "approle"
    auth_mount: str = ""
    binding: KubernetesBinding = field(default_factory=KubernetesBinding)
    transit: bool = False
    """Whether Vault countersigns the audit trail."""

    def steps(self) -> tuple[Step, ...]:
        """Return the calls, in order."""
        auth_mount = self.auth_mount or self.way
        return (
            Step(
                "the engine that keeps the secrets", f"sys/mounts/{self.mount}",
                {"type": "kv", "description": "Portcullis: exchange keys", "options": {"version": "2"}},
                f"sys/mounts/{self.mount}",
            ),
            Step(
                "every write says what it expects to find", f"{self.mount}/config",
                {"cas_required": True, "max_versions": 1},
            ),
            *(_TRANSIT if self.transit else ()),
            *(
                Step(
                    f"what the {role} may do", f"sys/policies/acl/{policy_name(role, self.mount, self.prefix)}",
                    {"policy": policy(role, self.mount, self.prefix, transit=self.transit)},
                )
                for role in VaultRole
            ),
            Step("how processes log in", f"sys/auth/{auth_mount}", {"type": self.way}, f"sys/auth/{auth_mount}"),
            *(
                Step(f"the {role} logs in", f"auth/{auth_mount}/role/portcullis-{role}", self._role(role))
                for role in (VaultRole.BROKER, VaultRole.ROTATOR)
            ),
            Step(
                "`portcullis run` is broker and rotator in one", f"auth/{auth_mount}/role/portcullis-run",
                self._role(VaultRole.BROKER, VaultRole.ROTATOR, name="run"),
            ),
        )  # fmt: skip

    def _role(self, *roles: VaultRole, name: str = "") -> dict[str, Any]:
        common: dict[str, Any] = {
            "token_policies": [policy_name(role, self.mount, self.prefix) for role in roles],
            "token_no_default_policy": True,
            "token_period": PERIOD,
            "token_type": "service",
        }
        if self.way == "approle":
            return common | {"bind_secret_id": True, "secret_id_num_uses": 0}
        return common | {
            "bound_service_account_names": [f"portcullis-{name or roles[0]}"],
            "bound_service_account_namespaces": [self.binding.namespace],
            "audience": self.binding.audience,
        }


def apply(client: hvac.Client, steps: Sequence[Step]) -> tuple[str, ...]:
    """Carry a plan out with an administrator's token.

    Returns:
        What was done or found, a line a step.

    Raises:
        Conflict: Something else is mounted where our engine should be; nothing after it was done.
        Exception: What hvac and requests raise; steps before it were done, and may be done again.
    """
    done = []
    for step in steps:
        if step.exists and (there := _there(client, step.exists)) is not None:
            _refuse_other(step, there)
            done.append(f"{step.why}: there already ({step.path})")
            continue
        client.adapter.post(f"/v1/{step.path}", json=dict(step.body))
        done.append(f"{step.why}: written ({step.path})")
    return tuple(done)


def _there(client: hvac.Client, path: str) -> tuple[str, str] | None:
    try:
        return shapes.engine(client.adapter.get(f"/v1/{path}"))
    except (InvalidPath, InvalidRequest):
        return None


def _refuse_other(step: Step, there: tuple[str, str]) -> None:
    wanted = str((step.body.get("options") or {}).get("version", ""))
    kind, version = there
    if kind != step.body["type"] or version != wanted:
        raise Conflict(
            "vault_mount_taken",
            f"{step.path} is in use by something else ({kind} {version}): choose another mount",
        )
