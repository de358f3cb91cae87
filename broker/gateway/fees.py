"""Asks the venue's own record of trades what purchases cost, where no answer told it (`costs`).

Rules:
1. What others bought is a bound until their fees are told. Where an exit falls short by no more than that, it is no
   no: the venue is asked about each of these purchases, those first that leave most open, `MOST` at most. What others
   have is found out anew then (`fetch`), and is known.
2. What goes on without its exit: the next try has what this one asked for. Those who come at once by one key share it.
3. Where no exit waits for it a few are asked about every few seconds, on accounts of several grants: what goes on
   record is exact soon, at every gateway, and what a grant may sell is less its own fees. This leaves bots two fifths
   of the venue's weight. An order whose trades the venue does not tell is left alone after `costs.MOST_TRIES`.
4. What the venue tells of fewer executions than are known tells nothing: its record of trades lags.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from broker.gateway.account_view import TRADES_WEIGHT, AccountView
from broker.gateway.bought import BUY, SELL, ZERO, Known
from broker.gateway.fills import RecentFills
from broker.gateway.limits import Need
from broker.gateway.sent import Sent
from broker.gateway.sharing import Sharing
from broker.gateway.venue_view import NotKnown
from broker.paid import is_paid, pair_of
from clients.venue import Credential
from clients.wire import OrderState

MOST, CALLS_AT_ONCE = 20, 5
EVERY_S, LONGEST_S = 5.0, 2.0
_SPARE_WEIGHT = 2400
_EXPECTED = (NotKnown, OSError, ValueError, TimeoutError)
_LOG = logging.getLogger("portcullis.gateway")
_Key = tuple[str, str, str]


class Of(NamedTuple):
    """Of which asset, on behalf of which grant and key."""

    account: str
    base: str
    grant: str
    key_id: str


class Fees:
    """Asks about purchases whose fees nobody told."""

    def __init__(self, recent: RecentFills) -> None:
        self._recent = recent
        self._sharing: Sharing[None] = Sharing()
        self.on_state: Callable[[Sent, OrderState], None] = lambda _sent, _state: None

    async def ask(self, of: Of, account: AccountView, credential: Credential) -> None:
        """Find out what others' purchases of an asset cost.

        Raises:
            NotKnown: Of some it is not known still.
        """
        await self._sharing.ask(of, partial(self._ask, of, account, credential))
        if self._recent.doubtful(of.account, of.base, of.grant):
            raise NotKnown("fees_unknown")

    async def _ask(self, of: Of, account: AccountView, credential: Credential) -> None:
        untold = self._recent.fees_untold(of.account, of.base, of.grant)
        largest = sorted(untold, key=lambda one: -one[1].executed)[:MOST]

        async def one(key: _Key, known: Known) -> None:
            async with asyncio.timeout(LONGEST_S), account.places.one(of.key_id):
                if account.leaves_room(of.key_id):
                    await self._one(account, credential, key, known, Need.EXIT, of.key_id)

        for result in await asyncio.gather(*(one(*each) for each in largest), return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, _EXPECTED):
                raise result

    async def _one(
        self, account: AccountView, credential: Credential, key: _Key, known: Known, need: Need, whose: str = ""
    ) -> None:  # fmt: skip
        where, symbol, order_id = key[0], pair_of(key[1]), key[2]
        gross, fees = await account.fetch_cost(credential, symbol, order_id, need, whose)
        if is_paid(key[1]):
            self._brought(key, known, gross, fees)
            return
        if gross < known.executed:
            return  # rule 4
        sent = Sent(
            0, known.whose, where, symbol, "", BUY, None, ZERO, 0, 0, order_id=order_id, base=known.base
        )
        left = abs(known.left)
        self.on_state(
            sent,
            OrderState(
                symbol, order_id, None, not left, executed_base=gross, side=BUY, quantity=gross + left,
                waits=known.left < 0, fees=fees,
            ),
        )  # fmt: skip

    def _brought(self, key: _Key, known: Known, sold: Decimal, fees: tuple[tuple[str, Decimal], ...]) -> None:
        """Take in what a sale cost: for how much it was made is known, if it executed no more since."""
        where, symbol, order_id = key[0], pair_of(key[1]), key[2]
        order, gross = (
            self._recent.known((where, symbol, order_id)),
            self._recent.costs.untold(where, known.base),
        )
        if key not in gross or (order is not None and order.executed != sold):
            return
        sent = Sent(
            0, known.whose, where, symbol, "", SELL, None, ZERO, 0, 0, order_id=order_id, quote=known.base
        )
        left = abs(known.left)  # what is open of it brings as much as before
        self.on_state(
            sent,
            OrderState(
                symbol, order_id, None, not left, executed_quote=gross[key], executed_base=sold, side=SELL,
                quantity=sold + (1 if left else 0), price=left, waits=known.left < 0, fees=fees,
            ),
        )  # fmt: skip

    async def run(self, askers: Callable[[], Mapping[str, tuple[AccountView, Credential]]]) -> None:
        """Run until cancelled; `askers` are who can be asked about each account of several grants."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.turn(askers())
            except Exception:  # noqa: BLE001 - a bug must not end it for good
                _LOG.error("internal error while fees were asked for; it goes on", exc_info=False)

    async def turn(self, askers: Mapping[str, tuple[AccountView, Credential]]) -> None:
        """Ask about a few."""
        calls = 0
        for asset, keys in self._recent.costs.turns(askers):
            account, credential = askers[asset[0]]
            for key in keys[: CALLS_AT_ONCE - calls]:
                known = self._recent.known(key)
                if known is None or not account.may_ask(TRADES_WEIGHT + _SPARE_WEIGHT):
                    continue
                calls += 1
                self._recent.costs.asked(asset, (key,))
                await self._quietly(account, credential, key, known)
            if calls >= CALLS_AT_ONCE:
                return

    async def _quietly(self, account: AccountView, credential: Credential, key: _Key, known: Known) -> None:
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._one(account, credential, key, known, Need.READ)
        except _EXPECTED:
            return


def known_to(
    askers: Mapping[str, tuple[AccountView, Credential]], accounts: Iterable[str]
) -> dict[str, tuple[AccountView, Credential]]:
    """Return who can be asked about these accounts."""
    return {account: askers[account] for account in accounts if account in askers}
