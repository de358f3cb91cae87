"""What a gateway is welcomed with."""

from broker.db import accounts as account_store
from broker.link import frames
from broker.service import Desk
from clients.venue import Environment


def welcome_of(desk: Desk, paper_upstream: str) -> frames.Welcome:
    """Read what a gateway is welcomed with, but for the gates: those are told as of when it is."""
    home, upstream = desk.home, paper_upstream
    with desk.database.read() as connection:
        found = account_store.accounts(connection, "", 1)
    if home.environment is Environment.PAPER and not upstream and found:
        upstream = found[0].upstream or ""
    mount = frames.Mount("binance", "binance", home.environment.value, upstream)
    return frames.Welcome(
        frames.VERSION,
        home.environment.value,
        home.generation,
        (mount,),
        frames.EgressPart("direct"),
        (),
    )
