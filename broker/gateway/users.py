"""Who sends by this gateway: should it break off, the broker knows whose orders may be missing in the record.

Rules:
1. Whoever sends anything that is signed is named each second, and with what is acknowledged: a bot that trades reads.
2. Who was not named lately is named at once, before anything of theirs leaves.
"""

LATELY_US = 20_000_000
_User = tuple[str, str]
"""Account and consumer."""


class Users:
    """They, and when each of them sent something last."""

    def __init__(self) -> None:
        self._untold = set[_User]()
        self._sent_us: dict[_User, int] = {}

    def sends(self, account: str, consumer: str, now_us: int) -> bool:
        """Take in that somebody sends something; tell whether that is to be said at once."""
        user = account, consumer
        before_us = self._sent_us.get(user)
        self._untold.add(user)
        self._sent_us[user] = now_us
        return before_us is None or now_us - before_us >= LATELY_US

    def tell(self) -> tuple[_User, ...]:
        """Return who sent something since that was told last."""
        told = tuple(sorted(self._untold))
        self._untold.clear()
        return told
