"""`X-MBX-TIME-UNIT`: on `/api` the times of a JSON answer come in microseconds where the caller asks for it.

Source: Binance spot REST docs, rest-api.md "General API Information", and errors.md (-1194), state of 2026-07-21.
"""

from clients.paper.errors import PaperError

_TIMES = frozenset(
    {
        *("serverTime", "time", "updateTime", "workingTime", "transactTime", "transactionTime"),
        *("openTime", "closeTime", "isWorkingTime", "T", "E"),
    }
)
_IN_CANDLES = (0, 6)
_CANDLES = ("/api/v3/klines", "/api/v3/uiKlines")


def in_microseconds(path: str, header: bytes | None) -> bool:
    """Tell whether a call wants microseconds.

    Raises:
        PaperError: It asks for something else than either unit.
    """
    if header is None or not path.startswith("/api/"):
        return False
    unit = header.decode("latin-1")
    if unit in {"MICROSECOND", "microsecond"}:
        return True
    if unit in {"MILLISECOND", "millisecond"}:
        return False
    raise PaperError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")


def converted(path: str, body: object) -> object:
    """Return an answer with its times in microseconds."""
    if path in _CANDLES and isinstance(body, list):
        return [
            [value * 1000 if at in _IN_CANDLES else value for at, value in enumerate(row)] for row in body
        ]
    return _converted(body)


def _converted(body: object) -> object:
    if isinstance(body, list):
        return [_converted(one) for one in body]
    if isinstance(body, dict):
        return {
            name: value * 1000
            if name in _TIMES and isinstance(value, int) and value > 0
            else _converted(value)
            for name, value in body.items()
        }
    return body
