"""The paper exchange without its sockets: state, keys, and one way in.

Rules:
1. `answer` takes one call and gives one answer; whatever a call changed is written to `executed`.
2. The order of refusal: path, weight, key format, key, address, parameters and time, signature, permission,
   then what the call asks for. The venue documents none; this is the fact sheet's section 14.
3. Nothing here sleeps or speaks to the network; faults are played by the server.
"""

import secrets
import string
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from clients.paper import takes
from clients.paper.engine import Engine
from clients.paper.errors import REFUSED_KEY, UNKNOWN_KEY, PaperError
from clients.paper.ledger import Account, PaperKey
from clients.paper.limits import Limits
from clients.paper.reading import Call, Params, check_signature, check_time, parameters
from clients.paper.switches import defaults
from clients.paper.symbols import seeded
from clients.paper.time_unit import converted, in_microseconds
from clients.secret import Secret
from clients.venue import KeyType

MASTER = "master@paper.test"
_ALPHABET = string.ascii_letters + string.digits
_KEY_LENGTH = 64
_MOST_KEPT = 200_000
_LAPSE_US = 30 * 86_400_000_000
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
    """One endpoint.

    `security` is `public`, `key` or `signed`; `flag` the permission it needs, `refusal` what it says without;
    `heavy` the weight where no pair is named; `uid` counts by account; `order` weighs nothing if it succeeds.
    """

    handler: Handler
    security: str
    weight: int = 1
    flag: str = "enableReading"
    write: bool = False
    heavy: int = 0
    uid: bool = False
    order: bool = False
    refusal: tuple[int, str, int] = (*REFUSED_KEY, 401)


class PaperExchange:
    """Accounts, keys, orders and the record of what was executed."""

    def __init__(self, seed: int = 1, clock: Callable[[], int] = system_clock_us) -> None:
        self._clock, self.seed = clock, seed
        self.offset_us = 0
        self.symbols = seeded(seed)
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, PaperKey] = {}
        self.limits = Limits()
        self.engine = Engine(self.symbols, self.accounts, self.limits)
        self.executed: list[dict[str, object]] = []
        self.requests: deque[dict[str, object]] = deque(maxlen=_MOST_KEPT)
        self.request_seq = 0
        self.switches: dict[str, object] = defaults()
        self.listen_keys: dict[str, str] = {}
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
        account = Account(email, 10_000_000 + len(self.accounts), master, created_us=self.now_us())
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
        status, code = 200, None
        headers: dict[str, str] = {}
        try:
            if route is None:
                raise PaperError(-1000, "Path does not exist.", 404)  # noqa: TRY301 - one answer for refusals
            body = self._carry_out(call, path, route, headers)
            if isinstance(body, Answer):
                status, body = body.status, body.body
        except PaperError as fault:
            status, code = fault.status, fault.code
            body = {"code": fault.code, "msg": fault.text}
            if fault.wait_s is not None:
                headers["Retry-After"] = str(fault.wait_s)
        self._note(call, path, status, code)
        return Answer(status, body, headers)

    def _carry_out(self, call: Call, path: str, route: Route, headers: dict[str, str]) -> object:
        now_us, weight = self.now_us(), route.weight
        if route.heavy and b"symbol=" not in call.query and b"symbol=" not in call.body:
            weight = route.heavy
        self.limits.count(call.peer, path, 1 if route.uid else weight, now_us, headers)
        seen = self._enter(call, path, route)
        if route.uid and seen.account is not None:
            del headers["X-SAPI-USED-IP-WEIGHT-1M"]
            self.limits.count_account(seen.account.email, path, weight, now_us, headers)
        micro = in_microseconds(path, call.headers.get(b"x-mbx-time-unit"))
        takes.check(call.method, path, seen.params, sapi_refuses=bool(self.switches["sapi_unknown_refused"]))
        body = route.handler(self, seen)
        if micro:
            body = self._in_microseconds(path, body)
        if route.write:
            self.changed = True
        if route.order and seen.account is not None:
            self.limits.give_back(call.peer, weight, now_us, headers)
            headers.update(self.limits.order_headers(seen.account.email, now_us))
        return body

    @staticmethod
    def _in_microseconds(path: str, body: object) -> object:
        if isinstance(body, Answer):
            return Answer(body.status, converted(path, body.body), body.headers)
        return converted(path, body)

    def _enter(self, call: Call, path: str, route: Route) -> Seen:
        """Check a call at the door."""
        seen = Seen(call, Params(), self.now_us())
        if route.security == "public":
            seen.params = parameters(call)
            return seen
        key = self._key_of(call, path)
        seen.params = parameters(call)
        if route.security == "signed":
            whole = path.startswith("/sapi/") and not self.switches["sapi_window_decimals"]
            check_time(seen.params, seen.now_us, whole_window=whole)
            signature = seen.params.need("signature")
            if self.switches["permission_before_signature"]:
                self._permit(key, route, seen.now_us)
            check_signature(key, call, signature, raw_reserved=bool(self.switches["raw_reserved_accepted"]))
        self._permit(key, route, seen.now_us)
        seen.key, seen.account = key, self.accounts[key.account]
        return seen

    def _key_of(self, call: Call, path: str) -> PaperKey:
        sapi = path.startswith("/sapi/")
        key_id = call.key_id
        if key_id is None or len(key_id) != _KEY_LENGTH or not key_id.isascii() or not key_id.isalnum():
            status = self.switches["key_format_sapi_status"] if sapi else 401
            raise PaperError(-2014, "API-key format invalid.", int(str(status)))
        key = self.keys.get(key_id)
        delay = self.switches["deletion_delay_sapi_ms" if sapi else "deletion_delay_api_ms"]
        if key is None or key.dead(self.now_us(), int(str(delay)) * 1000):
            code = self.switches["deleted_key_sapi_code" if sapi else "deleted_key_api_code"]
            raise self._refused(sapi=sapi) if code == REFUSED_KEY[0] else PaperError(*UNKNOWN_KEY)
        if key.ips and call.peer not in key.ips:
            raise self._refused(sapi=sapi)
        return key

    def _refused(self, *, sapi: bool) -> PaperError:
        status = self.switches["refused_key_sapi_status"] if sapi else 401
        return PaperError(*REFUSED_KEY, int(str(status)))

    def _permit(self, key: PaperKey, route: Route, now_us: int) -> None:
        lapsed = (
            self.switches["open_trade_key"] == "lapse"
            and not key.ips
            and route.flag != "enableReading"
            and now_us - key.created_us > _LAPSE_US
        )
        if lapsed or not key.may(route.flag):
            raise PaperError(*route.refusal)

    def _note(self, call: Call, path: str, status: int, code: int | None) -> None:
        self.request_seq += 1
        self.requests.append(
            {
                "seq": self.request_seq, "at_us": self.now_us(), "method": call.method, "path": path,
                "key_id": call.key_id, "peer": call.peer, "status": status, "code": code,
                "time_unit": call.headers.get(b"x-mbx-time-unit", b"").decode("ascii", "replace") or None,
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
