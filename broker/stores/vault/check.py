"""What is missing for a role to work in Vault, what it may do too much, and how to mend either."""

from dataclasses import dataclass

import hvac

from broker.errors import BrokerError
from broker.stores.vault import shapes
from broker.stores.vault.layout import RULES, Rule, VaultRole, path_of
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore

_SOON_S = 600


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` is empty where all is well."""

    what: str
    remedy: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy


def check(session: Session, roles: tuple[VaultRole, ...]) -> tuple[Finding, ...]:
    """Look at everything, as far as one step lets us come to the next."""
    config = session.config
    try:
        facts = session.ask("look at our own token", _of_our_token)
    except BrokerError as fault:
        return (Finding(f"log in at {', '.join(config.addresses)}: {fault.reason}", str(fault)),)
    found = [Finding(f"logged in at {', '.join(config.addresses)}"), _token(facts)]
    store = VaultStore(session)
    try:
        store.look_at_mount()
    except BrokerError as fault:
        return (*found, Finding(f"mount {config.mount}: {fault.reason}", str(fault)))
    found.append(Finding(f"mount {config.mount} is KV version 2"))
    return (*found, *_rights(session, roles))


def _of_our_token(client: hvac.Client) -> dict[str, object]:
    return dict(shapes.part(client.auth.token.lookup_self(), "data"))


def _token(facts: dict[str, object]) -> Finding:
    policies = facts.get("policies")
    if isinstance(policies, list) and "root" in policies:
        return Finding(
            "the token may do EVERYTHING in this Vault (policy root)",
            "log in by AppRole or Kubernetes with the roles that `portcullis vault setup` makes",
        )
    ttl = facts.get("ttl")
    period = facts.get("period")
    if isinstance(ttl, int) and 0 < ttl < _SOON_S and not period:
        return Finding(
            f"the token ends in {ttl} s and cannot be renewed for good",
            "give its role a token_period, as `portcullis vault setup` does",
        )
    return Finding("the token can be kept alive")


def _rights(session: Session, roles: tuple[VaultRole, ...]) -> list[Finding]:
    config = session.config
    wanted: dict[str, set[str]] = {}
    for role in VaultRole:
        for rule in RULES[role]:
            may = wanted.setdefault(_sample(config.mount, config.prefix, rule), set())
            if role in roles:
                may.update(rule.capabilities)
    has = session.ask(
        "look at our own rights",
        lambda client: shapes.rights(
            client.adapter.post("/v1/sys/capabilities-self", json={"paths": sorted(wanted)})
        ),
    )
    findings = []
    for path in sorted(wanted):
        have = set(has.get(path, ())) - {"deny"}
        if "root" in have:
            continue
        lacks, extra = sorted(wanted[path] - have), sorted(have - wanted[path])
        if lacks:
            findings.append(
                Finding(
                    f"may not {', '.join(lacks)} {path}",
                    "write the policies anew: `portcullis vault setup --apply`",
                )
            )
        if extra:
            findings.append(
                Finding(
                    f"may {', '.join(extra)} {path}, which {' and '.join(roles)} must not",
                    "take that policy away from the role; who steals our token gets it too",
                )
            )
    return findings or [Finding(f"rights are those of {' and '.join(roles)}, nothing more")]


def _sample(mount: str, prefix: str, rule: Rule) -> str:
    return path_of(mount, prefix, rule) + "portcullis-check"
