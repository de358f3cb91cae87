"""The paper exchange without its sockets: state, keys, and one way in.

Rules:
1. `answer` takes one call and gives one answer; whatever a call changed is written to `executed`.
2. The order of refusal is the venue's: path, key format, parameters, key, address, time, signature, permission.
3. Nothing here sleeps or speaks to the network; faults are played by the server.
"""

import secrets
import string
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from clients.paper.engine import Engine
from clients.paper.errors import REFUSED_KEY, PaperError
from clients.paper.ledger import Account, PaperKey
from clients.paper.limits import Limits
from clients.paper.reading import Call, Params, check_signature, check_time, parameters
from clients.paper.symbols import seeded
from clients.secret import Secret
from clients.venue import KeyType

MASTER = "master@paper.test"
_ALPHABET = string.ascii_letters + string.digits
_KEY_LENGTH = 64
_MOST_KEPT = 200_000
FLAGS = (
    *("enableReading", "enableSpotAndMarginTrading", "enableWithdrawals", "enableInternalTransfer"),
    *("permitsUniversalTransfer", "enableMargin", "enableFutures", "enableVanillaOptions"),
    *("enableFixApiTrade", "enableFixReadOnly", "enablePortfolioMarginTrading"),
)


def system_clock_us() -> int:
    """Microseconds since the epoch, by the machine's clock."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Answer:
    """What goes back: status, a JSON value, headers."""

    status: int
    body: object
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """A call that passed every check of the door: its account, key, parameters and moment."""

    call: Call
    params: Params
    now_us: int
    account: Account | None = None
    key: PaperKey | None = None


Handler = Callable[["PaperExchange", Seen], object]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `security` is `public`, `key` or `signed`; `flag` the permission it needs; `write` changes."""

    handler: Handler
    security: str
    weight: int = 1
    flag: str = "enableReading"
    write: bool = False
    action: str = ""


class PaperExchange:
    """Accounts, keys, orders and the record of what was executed."""

    def __init__(self, seed: int = 1, clock: Callable[[], int] = system_clock_us) -> None:
        self._clock, self.seed = clock, seed
        self.offset_us = 0
        self.symbols = seeded(seed)
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, PaperKey] = {}
        self.engine = Engine(self.symbols, self.accounts)
        self.limits = Limits()
        self.executed: list[dict[str, object]] = []
        self.requests: deque[dict[str, object]] = deque(maxlen=_MOST_KEPT)
        self.request_seq = 0
        self.switches: dict[str, object] = {"ip_restriction_post_adds": True, "deleted_key_api_code": -2015}
        self.changed = False
        self.open_account(MASTER, master=True)
        self.make_key(
            MASTER,
            KeyType.HMAC,
            {"enableReading": True, "enableSpotAndMarginTrading": True},
            ips=("127.0.0.1",),
            label="manager",
        )

    def now_us(self) -> int:
        """The exchange's own time, in microseconds since the epoch."""
        return self._clock() + self.offset_us

    # --- accounts and keys ----------------------------------------------------------------

    def open_account(
        self, email: str, balances: dict[str, Decimal] | None = None, *, master: bool = False
    ) -> Account:
        """Open an account under the master."""
        account = Account(email, 10_000_000 + len(self.accounts), master)
        for asset, amount in (balances or {}).items():
            account.balance(asset).free = amount
        self.accounts[email] = account
        self.changed = True
        return account

    def make_key(
        self,
        account: str,
        key_type: KeyType,
        flags: dict[str, bool],
        *,
        ips: tuple[str, ...] = (),
        label: str = "",
        public_key: str | None = None,
    ) -> PaperKey:
        """Make an API key; an HMAC key comes with its secret."""
        secret = Secret(_token()) if key_type is KeyType.HMAC else None
        key = PaperKey(
            _token(), account, key_type, {"enableReading": True, **flags}, ips, label, self.now_us(), secret,
            public_key,
        )  # fmt: skip
        self.keys[key.key_id] = key
        self.changed = True
        return key

    # --- the way in -----------------------------------------------------------------------

    def answer(self, call: Call, routes: dict[tuple[str, str], Route]) -> Answer:
        """Answer one call."""
        path = call.path[1:] if call.path.startswith("//") else call.path
        route = routes.get((call.method, path))
        status, code, seen = 200, None, None
        headers: dict[str, str] = {}
        try:
            if route is None:
                raise PaperError(-1000, "Path does not exist.", 404)  # noqa: TRY301 - one answer for refusals
            self.limits.count(call.peer, path, route.weight, self.now_us(), headers)
            seen = self._enter(call, path, route)
            body = route.handler(self, seen)
            if isinstance(body, Answer):
                status, body = body.status, body.body
            if route.write and seen.account is not None:
                self.changed = True
            headers.update(self.limits.order_headers(seen.account.email if seen.account else ""))
        except PaperError as fault:
            status, code = fault.status, fault.code
            body = {"code": fault.code, "msg": fault.text}
            if status in {429, 418}:
                headers["Retry-After"] = str(self.limits.retry_after(call.peer, self.now_us()))
        self._note(call, path, status, code)
        return Answer(status, body, headers)

    def _enter(self, call: Call, path: str, route: Route) -> Seen:
        params, now = parameters(call), self.now_us()
        seen = Seen(call, params, now)
        if route.security == "public":
            return seen
        key_id = call.key_id
        if key_id is None or len(key_id) != _KEY_LENGTH or not key_id.isalnum():
            raise PaperError(-2014, "API-key format invalid.", 401)
        if route.security == "signed":
            signature = params.need("signature")
            check_time(params, now)
        key = self.keys.get(key_id)
        if key is None or key.deleted:
            raise self._refused_key(path)
        if key.ips and call.peer not in key.ips:
            raise PaperError(*REFUSED_KEY, 401)
        if route.security == "signed":
            check_signature(key, call, signature)
        if not key.may(route.flag):
            raise PaperError(*REFUSED_KEY, 401)
        seen.key, seen.account = key, self.accounts[key.account]
        return seen

    def _refused_key(self, path: str) -> PaperError:
        if path.startswith("/sapi/"):
            return PaperError(-2008, "Invalid Api-Key ID.")
        code = self.switches["deleted_key_api_code"]
        return PaperError(-2008, "Invalid Api-Key ID.") if code == -2008 else PaperError(*REFUSED_KEY, 401)  # noqa: PLR2004

    def _note(self, call: Call, path: str, status: int, code: int | None) -> None:
        self.request_seq += 1
        self.requests.append(
            {
                "seq": self.request_seq, "at_us": self.now_us(), "method": call.method, "path": path,
                "key_id": call.key_id, "peer": call.peer, "status": status, "code": code,
            }
        )  # fmt: skip

    def record(
        self, seen: Seen, action: str, order: dict[str, object] | None, effect: dict[str, object]
    ) -> None:
        """Write down a write that took effect."""
        self.executed.append(
            {
                "seq": len(self.executed) + 1,
                "at_us": seen.now_us,
                "key_id": None if seen.key is None else seen.key.key_id,
                "account": None if seen.account is None else seen.account.email,
                "peer": seen.call.peer,
                "endpoint": f"{seen.call.method} {seen.call.path}",
                "action": action,
                "params": {name: value for name, value in seen.params.items() if name != "signature"},
                "order": order,
                "effect": effect,
            }
        )
        self.changed = True


def _token() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH))
