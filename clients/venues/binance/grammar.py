"""Value grammars of Binance parameters: text in, truthy where the text is one that only reads one way.

Rules:
1. A grammar sees the percent-decoded text. None accepts `+`, `;`, `&`, `=`, `#`, `%`, blanks at an end, or
   anything outside ASCII except the symbol grammars, so a decoded value never changes how a form splits.
2. Numbers are plain decimals with at most 20 digits on each side; no sign, no exponent, no bare dot. Numbers
   that name something (ids, counts) have no leading zero, because they are compared as text.
3. Enumerations are exact, upper and lower case kept apart.

Source: Binance spot REST docs (rest-api.md, enums.md, errors.md section -1100), state of 2026-07-21.
"""

import re
from collections.abc import Callable
from unicodedata import is_normalized

Grammar = Callable[[str], object]
"""Truthy for a value that may pass."""


def _pattern(expression: str) -> Grammar:
    return re.compile(expression, re.ASCII).fullmatch


def one_of(*words: str) -> Grammar:
    """Return the grammar of an enumeration."""
    return frozenset(words).__contains__


_ASCII_SYMBOL = _pattern(r"[A-Z0-9_.\-]{1,20}")
_ANY_SYMBOL = re.compile(r"[\w.\-]{1,40}").fullmatch
"""The venue's own error text names 50; none that it lists has half of that, and the log holds 40."""

_LIST_OF_ASCII_SYMBOLS = _pattern(r'\["[A-Z0-9_.\-]{1,20}"(?:, ?"[A-Z0-9_.\-]{1,20}"){0,999}\]')
_LIST_OF_SYMBOLS = re.compile(r'\["[\w.\-]{1,40}"(?:, ?"[\w.\-]{1,40}"){0,999}\]').fullmatch
_LONG_ASCII_NAME = re.compile(r'"[\w.\-]{21,}"', re.ASCII).search


def symbol(text: str) -> object:
    """Accept a symbol: upper-case ASCII, or (since 2025-12) letters and digits of other scripts."""
    return _ASCII_SYMBOL(text) or (not text.isascii() and _ANY_SYMBOL(text) and _one_form(text))


def _one_form(text: str) -> bool:
    """Tell whether a text has no other spelling: upper case where there is one, and composed."""
    return text == text.upper() and is_normalized("NFC", text)


def symbol_list(text: str) -> object:
    """Accept a JSON array of symbols, with or without one blank after each comma."""
    if _LIST_OF_ASCII_SYMBOLS(text):
        return True
    return _LIST_OF_SYMBOLS(text) and not _LONG_ASCII_NAME(text) and _one_form(text)


def split_list(text: str) -> tuple[str, ...]:
    """Take apart what `symbol_list` accepted."""
    return tuple(text[2:-2].replace('", "', '","').split('","'))


DECIMAL = _pattern(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
POSITIVE = _pattern(r"(?=[0-9.]*[1-9])[0-9]{1,20}(?:\.[0-9]{1,20})?")
INTEGER = _pattern(r"0|[1-9][0-9]{0,18}")
LIMIT = _pattern(r"[1-9][0-9]{0,4}")
INSTANT = _pattern(r"0|[1-9][0-9]{0,19}")
"""Milliseconds (13 digits) or microseconds (16 digits) since the epoch; any other number is a time too far from now."""
MOMENT = _pattern(r"0|[1-9][0-9]{0,15}")
"""A bound of a time range; older clients send small numbers, even 0."""
WINDOW = _pattern(r"(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,3})?")
"""Milliseconds. A number above the largest window is a number all the same: it has a code of its own."""
CLIENT_ID = _pattern(r"[A-Za-z0-9._:/\-]{1,36}")
"""The venue's own pattern is narrower on spot and this wide on futures; ids of its web client use it."""
WORD = _pattern(r"[A-Za-z0-9_.\-]{1,64}")
WORD_LIST = _pattern(r'[A-Z0-9_]{1,40}|\["[A-Z0-9_]{1,40}"(?:, ?"[A-Z0-9_]{1,40}"){0,99}\]')
COMMA_LIST = _pattern(r"[A-Z0-9]{1,20}(?:,[A-Z0-9]{1,20}){0,4}")
ZONE = _pattern(r"-?[0-9]{1,2}(?::[0-9]{2})?")
SPAN = _pattern(r"[1-9][0-9]?[mhd]")
BOOLEAN = one_of("true", "false", "True", "False", "TRUE", "FALSE")

SIDE = one_of("BUY", "SELL")
ORDER_TYPE = one_of(
    "LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT", "LIMIT_MAKER"
)
WORKING_TYPE = one_of("LIMIT", "LIMIT_MAKER")
SOR_TYPE = one_of("LIMIT", "MARKET")
ABOVE_TYPE = one_of("STOP_LOSS_LIMIT", "STOP_LOSS", "LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
TIME_IN_FORCE = one_of("GTC", "IOC", "FOK")
ANSWER_TYPE = one_of("ACK", "RESULT", "FULL")
PREVENTION = one_of("NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT")
"""TRANSFER is left out on purpose: it can move balances between accounts of one trade group."""
PEG = one_of("PRIMARY_PEG", "MARKET_PEG")
PEG_OFFSET = one_of("PRICE_LEVEL")
REPLACE_MODE = one_of("STOP_ON_FAILURE", "ALLOW_FAILURE")
EXCEEDED_MODE = one_of("DO_NOTHING", "CANCEL_ONLY")
CANCEL_IF = one_of("ONLY_NEW", "ONLY_PARTIALLY_FILLED")
SYMBOL_STATUS = one_of("TRADING", "HALT", "BREAK")
TICKER_TYPE = one_of("FULL", "MINI")
INTERVAL = one_of(
    *("1s", "1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h"),
    *("1d", "3d", "1w", "1M"),
)

_PLAIN_TEXT = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]{0,510}[^\s\x00-\x1f\x7f-\x9f])?|"
).fullmatch


def any_text(text: str) -> object:
    """Accept printable text: for endpoints that are recognised, never sized, and refused by policy anyway."""
    return _PLAIN_TEXT(text)
