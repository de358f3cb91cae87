"""One login to a Vault of several nodes, kept alive.

Rules:
1. Nodes are asked in turn, the one that answered last first. A redirect is not followed, a proxy of the
   environment not used: the token goes only to addresses that were named. One that is no node of the store's, or
   cannot send on what it was asked, is passed over: its answer is none (`faults.ELSEWHERE`).
2. A refusal with a dead token means one new login, and the request once more. Nothing else is repeated.
3. `maintain`, every few seconds, renews at half of the token's life, or looks at our token. Vault answered last where
   it did what it was asked, or said what it holds (`_on`): one that turns us away (a dead token, a role that is gone,
   its rate, a certificate) could tell us of no cut, and is away. No right at one path leaves the look at our token.
4. Each node has `timeout_s` for all it is asked at once, whatever it sends, and an `ask` has an end of its own: also
   where it waits for another thread that logs in.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import hvac
import requests

from broker.errors import BrokerError, NotFound, StoreConflict, StoreUnavailable
from broker.stores.vault import shapes
from broker.stores.vault.config import VaultConfig
from broker.stores.vault.faults import (
    ELSEWHERE,
    NotActive,
    Redirected,
    Stranger,
    never_initialised,
    refuse_redirect,
    refuse_stranger,
    translated,
)
from broker.stores.vault.login import Login, Token
from clients.bounds import MIB, Bounds, Call, OutOfBounds, current, within
from clients.pools import bounded_session
from clients.secret import Secret

_MOST_BYTES = 32 * MIB
"""What Vault itself takes in one request; listings of paths are its longest answers."""

_SET_UP_S = 60.0
T = TypeVar("T")
_FOREIGN = (
    requests.exceptions.RequestException,
    hvac.exceptions.VaultError,
    Redirected,
    Stranger,
    NotActive,
    OutOfBounds,
    shapes.Odd,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What the libraries raise, and what they stumble over in an answer that is not as they expect it."""


def boot_s() -> float:
    """Seconds on the clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Node:
    """One address, and the connections to it."""

    address: str
    http: requests.Session
    config: VaultConfig

    def client(self, token: str) -> hvac.Client:
        """Return a client that shares our connections; none of its settings come from the environment."""
        return hvac.Client(
            url=self.address,
            token=token,
            verify=self.http.verify,
            cert=self.http.cert or (),  # type: ignore[arg-type] # None would mean the environment's
            timeout=self.config.timeout_s,  # type: ignore[arg-type] # requests takes parts of a second
            allow_redirects=False,
            session=self.http,
            namespace=self.config.namespace,
        )


class Session:
    """Asks Vault. Safe for use by several threads."""

    def __init__(self, config: VaultConfig, now_s: Callable[[], float] = boot_s) -> None:
        """Prepare; nothing is asked before the first `ask`."""
        self.config = config
        self._now_s = now_s
        self._nodes = [_Node(address, _http(config), config) for address in config.addresses]
        self._first = 0
        self._login = Login(config.auth)
        self._token: Token | None = None
        self._lock = threading.Lock()
        self._answered_s = now_s()

    def __repr__(self) -> str:
        return f"Session({', '.join(self.config.addresses)})"

    def ask(self, what: str, work: Callable[[hvac.Client], T]) -> T:
        """Ask the first node that answers, logged in.

        Args:
            what: What for, as in `read keys/main/trade/1`; it is in every error.
            work: Asks by the client it is given.

        Raises:
            StoreUnavailable: By reason, see `faults`; `vault_odd` where the answer has another form than `work` reads.
                What was to be written may have been, where that is said.
            NotFound: Vault knows nothing there.
            StoreConflict: A check-and-set lost.
        """
        with self._within():
            token = self._logged_in()
            try:
                return self._on_a_node(what, work, token)
            except StoreUnavailable as fault:
                if fault.reason != "vault_forbidden" or self._alive(token):
                    raise
            return self._on_a_node(what, work, self._logged_in(instead_of=token))

    def absent_s(self) -> float:
        """Return for how many seconds Vault has not answered, or has turned us away."""
        return max(0.0, self._now_s() - self._answered_s)

    def maintain(self) -> None:
        """Keep the login alive, and look whether Vault answers.

        Raises:
            StoreUnavailable: It does not, or does not let us in.
        """
        with self._within():
            self._maintain()

    def _maintain(self) -> None:
        token = self._logged_in()
        if not token.is_due(self._now_s()):
            self.ask("look at our own token", lambda client: client.auth.token.lookup_self())
            return
        try:
            life_s = self._on_a_node(
                "renew our token",
                lambda client: (
                    shapes.lease(shapes.part(client.auth.token.renew_self(), "auth"), "lease_duration").life_s
                ),
                token,
            )
        except StoreUnavailable as fault:
            if fault.reason not in {"vault_forbidden", "vault_refused"}:
                raise
            self._logged_in(instead_of=token)
            return
        if life_s < token.life_s / 2:
            # its longest life ends: a new login in time, not renewals that give less and less
            self._logged_in(instead_of=token)
            return
        with self._lock:
            if self._token is token:
                self._token = replace(token, life_s=life_s, got_s=self._now_s())

    def close(self) -> None:
        """Close the connections. The token is left to its end: another process may use the same."""
        for node in self._nodes:
            node.http.close()

    def _within(self) -> AbstractContextManager[Call]:
        """Give all that belongs together an end: every node once, a login, and once more."""
        return within(Bounds(self.config.timeout_s * (len(self._nodes) + 2), _MOST_BYTES))

    # --- nodes ----------------------------------------------------------------------------

    def _on_a_node(self, what: str, work: Callable[[hvac.Client], T], token: Token | None) -> T:
        faults: list[StoreUnavailable] = []
        for turn in range(len(self._nodes)):
            index = (self._first + turn) % len(self._nodes)
            try:
                found = self._on(self._nodes[index], what, work, token)
            except StoreUnavailable as fault:
                if fault.reason not in ELSEWHERE:
                    raise
                faults.append(fault)
                continue
            self._first = index
            return found
        raise faults[0]

    def _on(self, node: _Node, what: str, work: Callable[[hvac.Client], T], token: Token | None) -> T:
        client = node.client("" if token is None else token.value.reveal())
        try:
            with within(Bounds(self.config.timeout_s, _MOST_BYTES)):
                found = work(client)
        except BrokerError:
            raise
        except _FOREIGN as fault:
            error = translated(fault, what, node.address)
            if error.reason == "vault_sealed" and self._was_never_initialised(client):
                error = never_initialised(node.address)
            if isinstance(error, NotFound | StoreConflict):  # not a refusal: it tells of no cut
                self._answered_s = self._now_s()
            raise error from None
        if token is not None:  # who lets us log in, and nothing more, tells of no cut
            self._answered_s = self._now_s()
        return found

    def _was_never_initialised(self, client: hvac.Client) -> bool:
        """Tell a Vault that was never initialised from a sealed one: it calls itself sealed, too."""
        try:
            with within(Bounds(self.config.timeout_s, _MOST_BYTES)):
                return client.adapter.get("/v1/sys/init")["initialized"] is False
        except _FOREIGN:
            return False

    # --- login ----------------------------------------------------------------------------

    def _logged_in(self, instead_of: Token | None = None) -> Token:
        """Return a token; a new one where there is none, or still the one that died."""
        try:
            free = self._lock.acquire(timeout=current().left_s())
        except OutOfBounds:
            free = False
        if not free:
            raise StoreUnavailable(
                "vault_slow", "another thread has not finished logging in to Vault; nothing was asked of it"
            )
        try:
            if self._token is None or self._token is instead_of:
                self._token = self._on_a_node(
                    "log in", lambda client: self._login(client, self._now_s()), None
                )
            return self._token
        finally:
            self._lock.release()

    def _alive(self, token: Token) -> bool:
        """Tell whether Vault still knows the token: then a refusal is about rights."""
        try:
            self._on_a_node("look at our own token", lambda client: client.auth.token.lookup_self(), token)
        except StoreUnavailable as fault:
            if fault.reason == "vault_forbidden":
                return False
            raise
        return True


def _http(config: VaultConfig) -> requests.Session:
    session = bounded_session()  # no proxy, no .netrc, no CA bundle but those that were named
    session.verify = True if config.ca_file is None else str(config.ca_file)
    if config.client_cert is not None:
        session.cert = (str(config.client_cert[0]), str(config.client_cert[1]))
    session.hooks["response"] = [refuse_redirect, refuse_stranger]
    return session


@contextmanager
def administrator(config: VaultConfig, token: Secret) -> Iterator[hvac.Client]:
    """Give a client with somebody's own token, for `vault setup`; at the first address.

    Raises:
        BrokerError: What is done with it failed.
    """
    http = _http(config)
    try:
        with within(Bounds(_SET_UP_S, _MOST_BYTES)):
            yield _Node(config.addresses[0], http, config).client(token.reveal())
    except BrokerError:
        raise
    except _FOREIGN as fault:
        raise translated(fault, "set up", config.addresses[0]) from None
    finally:
        http.close()
