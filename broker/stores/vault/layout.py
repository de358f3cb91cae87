"""What each of our roles may do in Vault, as policies in HCL. Pure.

Rules:
1. Data is `create` only: whoever holds a role can write a path once and never again, even after it was destroyed.
   Only `gates/`, the mirror of the gates, is written over and over.
2. The broker reads keys and cannot make one at a venue; only the rotator reads what can: manager keys.
3. The responder is a person: reads what stops a thief without us, and closes gates.
"""

from dataclasses import dataclass
from enum import StrEnum

_READ = ("read",)
_LIST = ("read", "list")
_ONCE = ("create", "read")
_LABEL = ("update", "read", "list")
_DESTROY = ("update",)
_OVER = ("create", "update", "read")


class VaultRole(StrEnum):
    """Who asks Vault."""

    BROKER = "broker"
    ROTATOR = "rotator"
    RESPONDER = "responder"


@dataclass(frozen=True, slots=True)
class Rule:
    """Capabilities on one path below the mount. `part` is the KV v2 part: data, metadata, destroy."""

    part: str
    tree: str
    capabilities: tuple[str, ...]


RULES: dict[VaultRole, tuple[Rule, ...]] = {
    VaultRole.BROKER: (
        Rule("data", "keys", _READ),
        Rule("metadata", "keys", _LIST),
        Rule("data", "virtual", _ONCE),
        Rule("metadata", "virtual", _LABEL),
        Rule("destroy", "virtual", _DESTROY),
        Rule("data", "egress", _ONCE),
        Rule("metadata", "egress", _LABEL),
        Rule("destroy", "egress", _DESTROY),
        Rule("data", "operators", _ONCE),
        Rule("metadata", "operators", _LABEL),
        Rule("destroy", "operators", _DESTROY),
        Rule("data", "gates", _OVER),
        Rule("metadata", "gates", _LIST),
        Rule("data", "destinations", _ONCE),
        Rule("metadata", "destinations", _LABEL),
        Rule("destroy", "destinations", _DESTROY),
        Rule("data", "inbox", ("create",)),
        Rule("metadata", "inbox", ("update", "read")),
    ),
    VaultRole.ROTATOR: (
        *(
            rule
            for tree in ("keys", "responders", "managers")
            for rule in (
                Rule("data", tree, _ONCE),
                Rule("metadata", tree, _LABEL),
                Rule("destroy", tree, _DESTROY),
            )
        ),
        Rule("data", "destinations", _READ),
        Rule("data", "egress", _READ),
        Rule("data", "gates", _READ),
        Rule("data", "inbox", _READ),
        Rule("metadata", "inbox", _LABEL),
        Rule("destroy", "inbox", _DESTROY),
    ),
    VaultRole.RESPONDER: (
        Rule("data", "managers", _READ),
        Rule("data", "responders", _READ),
        Rule("metadata", "keys", _LIST),
        Rule("metadata", "managers", _LIST),
        Rule("metadata", "responders", _LIST),
        Rule("metadata", "virtual", _LIST),
        Rule("data", "gates", _OVER),
        Rule("metadata", "gates", _LIST),
    ),
}
"""Deny is the default: what is not here, a role may not do."""

OWN = (
    ("auth/token/lookup-self", ("read",)),
    ("auth/token/renew-self", ("update",)),
    ("sys/capabilities-self", ("update",)),
)
"""What every role may do with its own token."""


def path_of(mount: str, prefix: str, rule: Rule) -> str:
    """Return the path a rule is about, without its end."""
    return "/".join(part for part in (mount, rule.part, prefix, rule.tree) if part) + "/"


TRANSIT_KEY = "portcullis-audit"
TRANSIT = tuple((f"transit/{what}/{TRANSIT_KEY}", ("update",)) for what in ("sign", "verify"))
"""What the broker may do where Vault countersigns the audit trail."""


def policy(role: VaultRole, mount: str, prefix: str = "", *, transit: bool = False) -> str:
    """Return a role's policy in HCL; with `transit` the broker may have the audit trail countersigned."""
    stanzas = [
        *((f"{path_of(mount, prefix, rule)}*", rule.capabilities) for rule in RULES[role]),
        *OWN,
        *(TRANSIT if transit and role is VaultRole.BROKER else ()),
    ]
    return "\n".join(
        f'path "{path}" {{\n  capabilities = [{", ".join(chr(34) + one + chr(34) for one in capabilities)}]\n}}\n'
        for path, capabilities in stanzas
    )


def policy_name(role: VaultRole, mount: str, prefix: str = "") -> str:
    """Return the name of a role's policy; a mount or prefix of its own has policies of its own."""
    return "-".join(part for part in (mount, prefix.replace("/", "-"), role.value) if part)
