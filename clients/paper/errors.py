"""The paper exchange's refusals: HTTP status, code and text as the venue documents them.

Source: Binance spot REST docs, errors.md, state of 2026-07-21; observed statuses as noted in the fact sheet.
"""


class PaperError(Exception):
    """A refusal, to be answered as `{"code": ..., "msg": ...}`. `wait_s` goes into Retry-After."""

    def __init__(self, code: int, text: str, status: int = 400, wait_s: int | None = None) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.code, self.text, self.status, self.wait_s = code, text, status, wait_s


def mandatory(name: str) -> PaperError:
    """A parameter that must be there is not, or is not what it must be."""
    return PaperError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str = "") -> PaperError:
    """A parameter has characters it may not have; `legal` is what it may have."""
    more = f"; legal range is '{legal}'." if legal else "."
    return PaperError(-1100, f"Illegal characters found in parameter '{name}'{more}")


def not_required(name: str) -> PaperError:
    """A parameter was sent that this kind of call does not take."""
    return PaperError(-1106, f"Parameter '{name}' sent when not required.")


def filter_failure(name: str) -> PaperError:
    """An order does not pass a filter of its pair."""
    return PaperError(-1013, f"Filter failure: {name}")


def rejected(text: str) -> PaperError:
    """The matching engine refused a new order."""
    return PaperError(-2010, text)


BAD_SYMBOL = (-1121, "Invalid symbol.")
REFUSED_KEY = (-2015, "Invalid API-key, IP, or permissions for action.")
UNKNOWN_KEY = (-2008, "Invalid Api-Key ID.")
UNKNOWN_ORDER = (-2011, "Unknown order sent.")
NO_SUCH_ORDER = (-2013, "Order does not exist.")
NO_BALANCE = "Account has insufficient balance for requested action."
