"""The one container for secret text.

Rules:
1. `reveal()` is the only exit; repr, str, format and f-strings show a fixed mark, pickle and copy refuse.
2. Comparison takes the same time whatever differs; a Secret is never a dictionary key.
3. Python cannot promise to wipe memory, so this promises redaction and nothing more.
"""

import hmac
from typing import NoReturn, final

MARK = "Secret(redacted)"


@final
class Secret:
    """Secret text (an API secret, a private key in PEM form, a passphrase, a token)."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a Secret holds text")
        self._value = value

    def reveal(self) -> str:
        """Return the secret text. Call it where it is used, never to keep the result."""
        return self._value

    def __repr__(self) -> str:
        return MARK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MARK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not serialised; reveal() it where it is used")

    def __copy__(self) -> NoReturn:
        raise TypeError("a Secret is not copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a Secret is not copied")
