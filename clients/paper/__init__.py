"""The paper exchange: a stateful simulator, and the second, independent reading of requests."""

from clients.paper.exchange import PaperExchange
from clients.paper.server import PaperServer

__all__ = ["PaperExchange", "PaperServer"]
