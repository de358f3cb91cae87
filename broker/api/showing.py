"""What an announced request would do, in lines for people: whoever approves sees all of it, and so does who asked.

Rules:
1. Every field of the request stands there but secrets. An id of a key stands there in part, as nobody has asked the
   exchange yet: whoever swaps id and secret types the secret there. Names are followed by what they stand for now: the
   pairs and caps of a policy, what differs from the one in force, what a cut holds, which key would be handed out;
   where an account is, by which way, and under which manager key.
2. The lines are part of what is approved. They are made again when the act is used: where a name stands for something
   else by then, it is another request, and is refused.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import Request

from broker import policy_document
from broker.api import policy_words
from broker.api.context import Context, run
from broker.errors import BrokerError
from broker.model import Grant, Stage, in_part
from broker.service import Service
from broker.service.accounts import DIRECT
from clients.venue import Slot

_SECRET = frozenset({"secret", "password", "passphrase", "proxy_password", "token", "code", "address"})
_IDS = frozenset({"key_id", "public_key"})
"""What may be a secret that was typed in the wrong place: shown in part, and by its digest."""
_OWN_LINES = frozenset({"policy"})
_LONGEST = 4000
_MOST = 400
Body = Mapping[str, Any]
Path = Mapping[str, str]


async def lines_of(context: Context, request: Request, action: str) -> tuple[str, ...]:
    """Return what a request would do."""
    try:
        found = json.loads(await request.body() or b"{}")
    except ValueError:
        found = None
    body: Body = found if isinstance(found, dict) else {}
    path = {name: str(value) for name, value in request.path_params.items()}
    if request.url.query:
        path["query"] = request.url.query
    return tuple(await run(_lines, context.service, action, path, body))


def _lines(service: Service, action: str, path: Path, body: Body) -> list[str]:
    lines = [f"{name}: {value}" for name, value in path.items()]
    lines += [f"{name}: {_said(name, value)}" for name, value in body.items() if name not in _OWN_LINES]
    try:
        lines += _MORE.get(action, _nothing)(service, path, body)
    except BrokerError:
        lines.append("what it names is not there now, or cannot be used; it would be refused")
    shown = [part for line in lines for part in _parts(line)]
    if len(shown) > _MOST:  # no request within the bounds of a body has so many
        shown = [*shown[:_MOST], f"and {len(shown) - _MOST} lines more (sha256 {_digest(''.join(lines))})"]
    return shown


def _nothing(service: Service, path: Path, body: Body) -> Iterator[str]:
    del service, path, body
    return iter(())


def _new_grant(service: Service, path: Path, body: Body) -> Iterator[str]:
    del path
    text = str(body.get("policy") or "")
    if body.get("like"):
        like = service.grants.get(str(body["like"]))
        yield f"with the policy of {like.consumer} on {like.account} ({like.id}):"
        text = like.policy
    for line in policy_words.meaning(policy_document.load(text)):
        yield f"  {line}"
    yield from _account(service, str(body.get("account") or ""))


def _policy(service: Service, path: Path, body: Body) -> Iterator[str]:
    known = service.grants.get(path["grant"])
    yield _grant(known)
    yield from _account(service, known.account)
    old, new = policy_document.load(known.policy), policy_document.load(str(body.get("policy", "")))
    for name, before, after, effect in policy_words.differences(old, new):
        yield f"  {name}: {before} -> {after} ({effect})"


def _reissue(service: Service, path: Path, body: Body) -> Iterator[str]:
    del body
    known = service.grants.get(path["grant"])
    yield _grant(known)
    yield f"  its virtual key {known.key_id} is replaced by a new one"
    yield from _account(service, known.account)


def _thaw(service: Service, path: Path, body: Body) -> Iterator[str]:
    del path
    cut = service.cuts.get(str(body.get("cut", "")))
    yield f"opens again: {', '.join(cut.scopes)}"
    yield f"  {cut.mode.value} since {cut.opened_at:%Y-%m-%d %H:%M:%S} UTC by {cut.actor}: {cut.reason}"


def _destination_key(service: Service, path: Path, body: Body) -> Iterator[str]:
    del body
    place = service.destinations.get(path["name"])
    yield f"shows a real key for {place.where}: {_key(service, place.account, place.slot)}"
    yield from _account(service, place.account)


def _checkout(service: Service, path: Path, body: Body) -> Iterator[str]:
    del path
    known = service.grants.get(str(body.get("grant", "")))
    yield _grant(known)
    yield f"shows a real key, past every policy: {_key(service, known.account, Slot.TRADE)}"
    yield from _account(service, known.account)


def _destination(service: Service, path: Path, body: Body) -> Iterator[str]:
    del path
    account, slot = str(body.get("account") or ""), str(body.get("slot") or Slot.TRADE.value)
    if slot in {one.value for one in Slot}:
        yield f"gets every key of {account}/{slot} from now on; now {_key(service, account, Slot(slot))}"
    yield from _account(service, account)


def _unsafe(service: Service, path: Path, body: Body) -> Iterator[str]:
    del path
    yield from _account(service, str(body.get("account") or ""))


def _new_manager(service: Service, path: Path, body: Body) -> Iterator[str]:
    del path
    yield from _egress(service, str(body.get("egress") or DIRECT))


def _managed(service: Service, path: Path, body: Body) -> Iterator[str]:
    yield from _account(service, path["name"])
    manager = service.managers.get(str(body.get("manager") or ""))
    yield f"would be under the manager key {manager.name} ({manager.venue_key_id}) at {manager.venue}"
    yield from _egress(service, manager.egress)


def _released(service: Service, path: Path, body: Body) -> Iterator[str]:
    del body
    yield from _account(service, path["name"])
    yield "would be under no manager key: nobody lists its keys any more"


def _enrol(service: Service, path: Path, body: Body) -> Iterator[str]:
    del body
    was = "has" if service.credentials.is_enrolled(path["name"]) else "has not"
    yield f"{path['name']} gets another password and other codes; {was} some now"


_MORE: dict[str, Callable[[Service, Path, Body], Iterator[str]]] = {
    "grant.create": _new_grant, "grant.policy": _policy, "grant.reissue": _reissue, "cut.thaw": _thaw,
    "destination.key": _destination_key, "checkout.open": _checkout, "operator.enrol": _enrol,
    "destination.create": _destination, "key.unsafe": _unsafe, "manager.import": _new_manager,
    "account.manage": _managed, "account.release": _released,
}  # fmt: skip


def _account(service: Service, name: str) -> Iterator[str]:
    """Say what an account is: where, by which way, and under which manager key."""
    one = service.accounts.get(name)
    where = f" at {one.upstream}" if one.upstream else ""
    under = f", under the manager key {one.manager} as {one.subaccount}" if one.manager else ""
    yield f"account {one.name}: {one.venue} {one.environment.value}{where}{under}"
    yield from _egress(service, one.egress)


def _egress(service: Service, name: str) -> Iterator[str]:
    """Say what a way is: all that the exchange sees of it, and all that it passes."""
    found = next((one for one in service.accounts.egresses() if one.name == name), None)
    if found is None:
        if name == DIRECT:  # recorded at its first use
            yield f"egress {name}: direct; addresses not declared"
        return
    by = "".join(
        f", {what} {value}" for what, value in (("from", found.source), ("proxy", found.proxy)) if value
    )
    yield f"egress {name}: {found.way}{by}; addresses {', '.join(found.addresses) or 'not declared'}"


def _grant(one: Grant) -> str:
    return f"of {one.consumer} on {one.account}"


def _key(service: Service, account: str, slot: Slot) -> str:
    for one in service.keys.list(account):
        if one.ref.slot is slot and one.stage is Stage.CURRENT:
            return f"{one.ref} ({one.venue_key_id})"
    return f"{account} has no {slot.value} key now"


def _said(name: str, value: object) -> str:
    if name in _SECRET and value is not None:
        return "(given, not shown)"
    if isinstance(value, str):
        return f"{in_part(value)} (sha256 {_digest(value)})" if name in _IDS and value else value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _parts(line: str) -> Iterator[str]:
    """Break a line that is too long; what cannot be printed is named by its digest, so that no two look alike."""
    plain = "".join(one if one.isprintable() else " " for one in line)
    yield plain[:_LONGEST] + ("" if plain == line else f" ... (sha256 {_digest(line)})")
    for at in range(_LONGEST, len(plain), _LONGEST):
        yield f"  ... {plain[at : at + _LONGEST]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
