"""What Vault's answers hold, read in one place: a value of the type that is expected, or `Odd`. Pure.

Rules:
1. Whatever is read of an answer is read here, while it is asked (`Session.ask`): what has another form is an error of
   the store's like a silence is, told by a reason, and another node is asked.
2. A missing part is never taken for nothing: nothing there is Vault's own word (`form`), and so is a version's end.
3. What people write there themselves may have any form that Vault takes: a document of the gates that is none is read
   as one that cannot be understood, never as none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clients.secret import Secret

_FIRST = "1"
DOCUMENT = "document"
"""The field of a gate in which its document stands."""

_LARGEST = 2**53
"""No count of Vault's is larger; what is comes from elsewhere."""


class Odd(Exception):
    """An answer has not the form that Vault's have; says what was expected, and nothing of what came."""


@dataclass(frozen=True, slots=True)
class Path:
    """What Vault says of a path: our labels, if it has them yet; and whether its one version is gone for good."""

    labels: dict[str, str]
    destroyed: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a token lives, 0 without end; and whether it can be renewed."""

    life_s: float
    renewable: bool


def part(answer: Any, *names: str) -> Any:
    """Return what lies in maps of maps."""
    for name in names:
        if not isinstance(answer, Mapping) or name not in answer:
            raise Odd(f"a map with {name}")
        answer = answer[name]
    return answer


def text(answer: Any, *names: str) -> str:
    """Return a text that is none of half characters: nobody could say or store it."""
    found = part(answer, *names)
    if not isinstance(found, str) or not _is_whole(found):
        raise Odd(f"{_at(names)} as a text")
    return found


def truth(answer: Any, *names: str) -> bool:
    """Return a truth; a word for one is none."""
    found = part(answer, *names)
    if not isinstance(found, bool):
        raise Odd(f"{_at(names)} as a truth")
    return found


def count(answer: Any, *names: str) -> int:
    """Return a whole number that is not below nothing."""
    found = part(answer, *names)
    if type(found) is not int or not 0 <= found <= _LARGEST:
        raise Odd(f"{_at(names)} as a number")
    return found


def names(answer: Any) -> tuple[str, ...]:
    """Return what a listing names, folders with a slash behind."""
    found = part(answer, "data", "keys")
    if not isinstance(found, list):
        raise Odd("data.keys as a list")
    for one in found:
        if not isinstance(one, str) or not _is_whole(one) or not one.removesuffix("/") or "/" in one[:-1]:
            raise Odd("data.keys as a list of names")
    return tuple(found)


def values(answer: Any) -> dict[str, Secret]:
    """Return the values that a version of a path holds."""
    return {name: Secret(value) for name, value in _texts(part(answer, "data", "data"), "data.data").items()}


def path(answer: Any) -> Path | None:
    """Return what Vault says of a path; None where nothing was ever written."""
    found = part(answer, "data")
    current = count(found, "current_version")
    if not current:
        return None
    first, labels = part(found, "versions"), part(found, "custom_metadata")
    if not isinstance(first, Mapping) or not first:
        raise Odd("data.versions as a map")
    if _FIRST not in first and current == int(_FIRST):
        raise Odd("data.versions.1")
    gone = _FIRST not in first or truth(first, _FIRST, "destroyed")
    return Path({} if labels is None else _texts(labels, "data.custom_metadata"), gone)


def document(answer: Any) -> tuple[str | None, int]:
    """Return a document of the gates and its version; none and the last version, where it was deleted."""
    found = part(answer, "data", "data")
    version = count(answer, "data", "metadata", "version")
    if found is None:
        return None, version
    if not isinstance(found, Mapping):
        raise Odd("data.data as a map")
    return str(found.get(DOCUMENT, "")), version


def engine(answer: Any) -> tuple[str, str]:
    """Return kind and version of what is mounted; no version where it says none."""
    found = part(answer, "data")
    options = found.get("options") if isinstance(found, Mapping) else None
    if options is not None and not isinstance(options, Mapping):
        raise Odd("data.options as a map")
    return text(found, "type"), str((options or {}).get("version") or "")


def lease(answer: Any, life: str) -> Lease:
    """Return how long a token lives: `life` is the name under which that stands."""
    found = part(answer, life)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= _LARGEST:
        raise Odd(f"{life} as a number")  # neither is what is no number
    renewable = answer.get("renewable", False)
    return Lease(float(found), renewable is True)


def rights(answer: Any) -> dict[str, list[str]]:
    """Return what a token may do, by path."""
    found = part(answer, "data")
    if not isinstance(found, Mapping) or not found:
        raise Odd("data as a map")
    if not all(
        isinstance(some, list) and all(isinstance(one, str) for one in some) for some in found.values()
    ):
        raise Odd("data as a map of lists of texts")
    return dict(found)


def _texts(found: Any, where: str) -> dict[str, str]:
    if not isinstance(found, Mapping):
        raise Odd(f"{where} as a map")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, str) or not _is_whole(name + value):
            raise Odd(f"{where} as a map of texts")
    return dict(found)


def _at(names: tuple[str, ...]) -> str:
    return ".".join(names) or "it"


def _is_whole(one: str) -> bool:
    try:
        one.encode()
    except UnicodeEncodeError:
        return False
    return True
