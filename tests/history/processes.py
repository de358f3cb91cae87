"""A history of real processes, told when they have ended: by what people were told, and by what they left behind.

Nothing of it was seen from inside: a process may have been stopped, killed or started anew.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.gate import Mode
from clients.paper.exchange import PaperExchange
from portcullis.foundation import opened
from portcullis.gateway_child import NAME as GATEWAY
from portcullis.settings import open_home
from tests.history import laws
from tests.history.events import History, InForce, Reopened
from tests.history.record import of_exchange, of_logs, of_record, of_venue
from tests.history.watching import now_us


@dataclass(slots=True)
class Told:
    """What the people of one home were told, and what they asked for, whichever process answered."""

    in_force: list[InForce] = field(default_factory=list)
    reopened: list[Reopened] = field(default_factory=list)

    def cut(self, document: dict[str, Any]) -> None:
        """Take in the answer to a cut or halt, as the API and the command line give it."""
        gateways = document["gateways"]
        if gateways["missing"] or not gateways["acknowledged"]:
            return  # nobody said that it is in force everywhere
        halt = document["mode"] != Mode.CLOSED.value
        self.in_force.append(InForce(now_us(), document["id"], frozenset(document["targets"]), halt))

    def thaw(self, cut: str, began_us: int) -> None:
        """A thaw of a cut was asked for."""
        self.reopened.append(Reopened(began_us, cut))


TOLD: dict[Path, Told] = {}


def told(home: Path) -> Told:
    """Return what the people of a home were told so far."""
    return TOLD.setdefault(home, Told())


def told_by_command(home: Path, command: str, document: dict[str, Any], began_us: int) -> None:
    """Take in the answer to a command."""
    if command in {"cut", "halt"}:
        told(home).cut(document)
    elif command == "thaw":
        told(home).thaw(document["cut"], began_us)


def left_behind(home: Path, exchange: Path | PaperExchange | None = None) -> History:
    """Tell the history of a home whose processes have ended.

    Args:
        home: Where it is.
        exchange: The paper exchange in this process, or the state of one; the home's own where it is left out.
    """
    known = told(home)
    history = History(in_force=list(known.in_force), reopened=list(known.reopened))
    if isinstance(exchange, PaperExchange):
        of_exchange(history, exchange)
    else:
        state = json.loads((exchange or home / "paper" / "state.json").read_text())
        of_venue(history, state["keys"], state["executed"], state["offset_us"])
    place = open_home(home)
    with opened(place) as service:
        of_record(history, service.desk.database, service.desk.secrets)
        of_logs(history, service.desk.database, {GATEWAY: place.spool})
    return history


def look_back(
    home: Path, plays: tuple[str, ...] = (), exchange: Path | PaperExchange | None = None
) -> History:
    """Hold a home's history to the laws; `plays` are words of those that a test breaks on purpose."""
    history = left_behind(home, exchange)
    faults = [one for one in laws.broken(history) if not any(word in one for word in plays)]
    assert not faults, faults
    return history
