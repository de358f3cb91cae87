"""Binance spot and `/sapi`: `WIRE` is how the gateway speaks it; `market`, `account` are imported by name.

Importing this room loads neither `cryptography` nor any I/O library.
"""

from clients.venues.binance.wire import WIRE

__all__ = ["WIRE"]
