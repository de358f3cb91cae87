"""Moving every secret between the embedded store and a Vault.

Rules:
1. Nothing runs meanwhile: the caller holds the home's lock.
2. Written, read back and compared, one path after the other; `home.json` is switched only when all are there.
3. Safe to repeat: what was copied before is compared. Something else at the target stops it; nothing is lost.
4. The old store is left as it was, and the caller says so: it still holds every key.
"""

from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.ports import SecretStore
from clients.secret import Secret
from portcullis.stores import all_paths

_GRAVE = {"destroyed": Secret("this secret was destroyed before the move")}


@dataclass(frozen=True, slots=True)
class Moved:
    """What was copied: living secrets, destroyed ones (their labels), gate documents."""

    secrets: int
    destroyed: int
    gates: int


def copy(source: SecretStore, target: SecretStore, tell: Callable[[int, int], None]) -> Moved:
    """Copy everything, and compare.

    Args:
        source: What is in use.
        target: Empty, or holding nothing but what an earlier attempt copied.
        tell: Told how many of how many paths are done.

    Raises:
        StoreConflict: The target holds something else.
        StoreUnavailable: A store cannot answer; do it again.
    """
    paths = all_paths(source)
    foreign = set(all_paths(target)) - set(paths)
    if foreign:
        raise StoreConflict(
            "target_used",
            f"the target holds {len(foreign)} secrets that are not ours, as {min(foreign)}: choose another prefix",
        )
    _claim(source, target)
    living = 0
    for number, path in enumerate(paths, 1):
        living += _one(source, target, path)
        tell(number, len(paths))
    gates = source.mirror.names()
    for name in gates:
        _gate(source, target, name)
    _compare(source, target, paths)
    return Moved(living, len(paths) - living, len(gates))


def _gate(source: SecretStore, target: SecretStore, name: str) -> None:
    document = source.mirror.read(name)
    target.mirror.change(name, lambda _: document)


def _claim(source: SecretStore, target: SecretStore) -> None:
    """Refuse a target that another instance has claimed."""
    theirs = target.mirror.read("instance")
    if theirs is not None and theirs != source.mirror.read("instance"):
        raise StoreConflict(
            "target_used", "the target belongs to another Portcullis: choose another prefix or folder"
        )


def _one(source: SecretStore, target: SecretStore, path: str) -> bool:
    """Copy one path; tell whether it lives."""
    labels = source.metadata(path)
    values = _living(source, path)
    if values is not None:
        target.write(path, values, labels)
        return True
    if _living(target, path) is not None or path not in target.paths(path):
        target.write(path, _GRAVE, labels)
        target.destroy(path)
    return False


def _living(store: SecretStore, path: str) -> dict[str, Secret] | None:
    try:
        return dict(store.read(path))
    except NotFound:
        return None


def _compare(source: SecretStore, target: SecretStore, paths: list[str]) -> None:
    """Read everything once more, from the target: what is not the same there was not moved."""
    for path in paths:
        if _living(source, path) != _living(target, path) or dict(source.metadata(path)) != dict(
            target.metadata(path)
        ):
            raise StoreUnavailable(
                "not_the_same", f"{path} did not come over as it was; the old store stays in use"
            )
