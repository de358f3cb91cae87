"""Which orders in doubt may go by another name since, as lines of earlier starts tell of amendments. Pure.

Rules:
1. An order that an amendment may have renamed is never absent: the venue does not know its old name, and it may rest.
2. A name is no identity: it is used again. An amendment is of no order that was sent after it: in its own boot by
   number, else by the starts and the clocks together, for a gateway may end slowly beside the next. Where that cannot
   be told it may be of it.
3. Nor of any in doubt where the venue refused it, or the order that it or its answer names by id is known as another.
4. One that names its order by an id which nobody knows may be of any in doubt there.
"""

from dataclasses import dataclass

from broker.calllog import Answered, Ask
from broker.gateway.doubts import Doubt
from broker.gateway.parts import started

_Pair = tuple[str, str]
"""Account, symbol."""


@dataclass(slots=True, eq=False)
class _Amendment:
    boot: str
    seq: int
    at_us: int
    target: str
    shown: tuple[str, ...] = ()
    refused: bool = False


class Renames:
    """Amendments that were sent, and the ids of orders that are known."""

    def __init__(self) -> None:
        self._of: dict[_Pair, dict[str, list[_Amendment]]] = {}
        self._open: dict[tuple[str, int], _Amendment] = {}
        self._known = set[tuple[str, str, str]]()
        self._by_id: dict[_Pair, list[_Amendment]] = {}
        """Those by an id that is nobody's, as far as it was found out since something changed."""

    def amended(self, boot: str, line: Ask) -> None:
        """An amendment was about to leave."""
        if line.target is None or (boot, line.seq) in self._open:
            return
        found = _Amendment(boot, line.seq, line.at_us, line.target)
        self._of.setdefault((line.account, line.symbol or ""), {}).setdefault(line.target, []).append(found)
        self._open[boot, line.seq] = found
        self._by_id.clear()

    def answered(self, boot: str, line: Answered) -> None:
        """An answer came: to an amendment, or one that tells whose an order is."""
        for symbol, known_as, _ in line.own:
            self._known.add((line.account, symbol, known_as))
        found = None if line.boot else self._open.get((boot, line.of))
        if found is not None:
            found.refused = line.outcome == "refused"
            found.shown = tuple(f"#{order_id}" for _, order_id, _, _ in line.orders if order_id is not None)
        self._by_id.clear()

    def of(self, ask: Doubt) -> tuple[str, ...]:
        """Return the names of a request's orders that may have got another one."""
        pair = ask.account, ask.symbol
        names = [name for name, *_ in ask.sent if not name.startswith("@")]
        if any(not _precedes(one, ask) for one in self._of_nobody(pair)):
            return tuple(dict.fromkeys((*ask.renamed, *names)))
        named = self._of.get(pair, {})
        found = [
            name
            for name in names
            if any(self._counts(pair, one) and not _precedes(one, ask) for one in named.get(name, ()))
        ]
        return tuple(dict.fromkeys((*ask.renamed, *found)))

    def _of_nobody(self, pair: _Pair) -> list[_Amendment]:
        if pair not in self._by_id:
            self._by_id[pair] = [
                one
                for target, ones in self._of.get(pair, {}).items()
                if target.startswith("#")
                for one in ones
                if self._counts(pair, one)
            ]
        return self._by_id[pair]

    def _counts(self, pair: _Pair, one: _Amendment) -> bool:
        """Tell whether it may have been of an order that nobody knows."""
        shown = one.shown or ((one.target,) if one.target.startswith("#") else ())
        return not one.refused and not (shown and all((*pair, name) in self._known for name in shown))

    def forget(self) -> None:
        """Nothing is left to be read that it could be of."""
        self._of.clear()
        self._open.clear()
        self._known.clear()
        self._by_id.clear()


def _precedes(amendment: _Amendment, ask: Doubt) -> bool:
    """Tell whether an amendment was sent before a request."""
    if amendment.boot == ask.boot:
        return amendment.seq < ask.seq
    first, second = started(amendment.boot), started(ask.boot)
    return first is not None and second is not None and first < second and amendment.at_us < ask.window_us[0]
