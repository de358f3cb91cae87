"""Faults the paper exchange plays on purpose. Pure: what to do to which call, and how often.

| do | what happens |
|---|---|
| `lose-reply` | the call takes effect, the connection closes without an answer |
| `accept-not-apply` | a 200 with `{}` and no effect: an exchange that lies |
| `error` | `status`, `code` and `text` without effect; `retry_after` as the header of that name |
| `error-after` | `status` and `code`, and the call took effect |
| `delay` | the answer comes after `ms` |
| `hang` | no answer, the connection stays open |
| `close` | the connection closes before the call is looked at |
| `refuse-keys` | `status`, `code` and `text` to every call with a key, without effect: a ban of an address |
| `garbage` | a 200 whose body is not JSON, and the call took effect |
| `truncate` | half of the answer, then the connection closes |
"""

from dataclasses import dataclass

KINDS = frozenset(
    {
        "lose-reply",
        "accept-not-apply",
        "error",
        "error-after",
        "delay",
        "hang",
        "close",
        "garbage",
        "refuse-keys",
        "truncate",
    }
)


@dataclass(slots=True)
class Fault:
    """One fault: what it matches and how often it is still to be played."""

    do: str
    method: str | None = None
    path: str | None = None
    key_id: str | None = None
    ms: int = 0
    status: int = 500
    code: int = -1000
    times: int = 1
    retry_after: str | None = None
    text: str = "Played error."
    address: str | None = None

    def matches(self, method: str, path: str, key_id: str | None, address: str) -> bool:
        """Tell whether it is meant for this call; `path` matches as a prefix, `address` is the caller's."""
        return (
            self.times > 0
            and (self.do != "refuse-keys" or key_id is not None)
            and self.address in {None, address}
            and self.method in {None, method}
            and (self.path is None or path.startswith(self.path))
            and self.key_id in {None, key_id}
        )

    def shown(self) -> dict[str, object]:
        """Show it as the admin API does."""
        return {
            "do": self.do,
            "match": {"method": self.method, "path": self.path, "key_id": self.key_id, "address": self.address},
            "ms": self.ms, "status": self.status, "code": self.code, "times": self.times,
            "retry_after": self.retry_after, "text": self.text,
        }  # fmt: skip


def parse(row: object) -> Fault:
    """Read one fault.

    Raises:
        ValueError: With the field that cannot be used.
    """
    if not isinstance(row, dict) or row.get("do") not in KINDS:
        raise ValueError(f"do: is one of {', '.join(sorted(KINDS))}")
    match = row.get("match", {})
    if not isinstance(match, dict):
        raise ValueError("match: is an object of method, path, key_id, address")  # noqa: TRY004 - bad input
    numbers = {name: row[name] for name in ("ms", "status", "code", "times") if name in row}
    if not all(isinstance(value, int) for value in numbers.values()):
        raise ValueError("ms, status, code and times are whole numbers")
    words = {name: row[name] for name in ("retry_after", "text") if name in row}
    if not all(isinstance(value, str) for value in words.values()):
        raise ValueError("retry_after and text are text")
    return Fault(
        row["do"], match.get("method"), match.get("path"), match.get("key_id"), **numbers, **words,
        address=match.get("address"),
    )  # fmt: skip


def take(faults: list[Fault], method: str, path: str, key_id: str | None, address: str = "") -> Fault | None:
    """Return the fault to play on this call, and count it."""
    for fault in faults:
        if fault.matches(method, path, key_id, address):
            fault.times -= 1
            if fault.times <= 0:
                faults.remove(fault)
            return fault
    return None
