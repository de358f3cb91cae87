"""Moving every secret between the embedded store and a Vault.

Rules:
1. Nothing runs meanwhile: the caller holds the home's lock.
2. Written, read back and compared, one path after the other; `home.json` is switched only when all are there.
3. Safe to repeat: what was copied before is compared. Something else at the target stops it; nothing is lost.
4. The old store is left as it was, and the caller says so: it still holds every key.
5. That a secret is not at the source proves nothing: somebody may have destroyed the copy in use by hand. What an
   earlier move brought to the target alive is destroyed only where the record has it as dead; else it stays.
6. A secret that is lost at the source and was not destroyed keeps no other back: it is left where it is, and named.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from broker.errors import BrokerError, StoreConflict, StoreUnavailable
from broker.ports import SecretStore
from broker.stores.held import is_lost
from clients.secret import Secret
from portcullis.stores import all_paths

_GRAVE = {"destroyed": Secret("this secret was destroyed before the move")}


@dataclass(frozen=True, slots=True)
class Moved:
    """What was copied: living secrets, destroyed ones (their labels), gate documents.

    `left` are paths that live at the target alone, from an earlier move, and that nothing proves dead. `lost` are lost
    at the source, and were left there.
    """

    secrets: int
    destroyed: int
    gates: int
    left: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def copy(
    source: SecretStore, target: SecretStore, tell: Callable[[int, int], None], dead: Collection[str] = ()
) -> Moved:
    """Copy everything, and compare.

    Args:
        source: What is in use.
        target: Empty, or holding nothing but what an earlier attempt copied.
        tell: Told how many of how many paths are done.
        dead: Paths of keys that the record has as dead.

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
    living, left, lost = 0, list[str](), list[str]()
    for number, path in enumerate(paths, 1):
        if _is_lost(source, path):
            (lost if _living(target, path) is None else left).append(path)
        elif _one(source, target, path):
            living += 1
        elif not _buried(target, path, dead=path in dead):
            left.append(path)
        tell(number, len(paths))
    gates = source.mirror.names()
    for name in gates:
        _gate(source, target, name)
    _compare(source, target, [path for path in paths if path not in {*left, *lost}])
    return Moved(living, len(paths) - living - len(left) - len(lost), len(gates), tuple(left), tuple(lost))


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
    """Copy one path, what is left of it where it does not live; tell whether it does."""
    labels = source.metadata(path)
    values = _living(source, path)
    if values is not None:
        target.write(path, values, labels)
        return True
    if path not in target.paths(path):
        target.write(path, _GRAVE, labels)
    elif dict(target.metadata(path)) != dict(labels):
        raise StoreConflict("written", f"{path} was written before, with something else")
    return False


def _buried(target: SecretStore, path: str, *, dead: bool) -> bool:
    """Destroy what of a path the target has and nobody needs; tell whether nothing of it lives there now."""
    there = _living(target, path)
    if there is not None and there != _GRAVE and not dead:
        return False
    if there is not None:
        target.destroy(path)
    return True


def _living(store: SecretStore, path: str) -> dict[str, Secret] | None:
    try:
        return dict(store.read(path))
    except BrokerError as fault:
        if not is_lost(fault):
            raise
        return None


def _is_lost(store: SecretStore, path: str) -> bool:
    """Tell whether a secret is lost that nobody destroyed."""
    try:
        store.read(path)
        store.metadata(path)
    except BrokerError as fault:
        if fault.reason == "destroyed":
            return False
        if not is_lost(fault):
            raise
        return True
    return False


def _compare(source: SecretStore, target: SecretStore, paths: list[str]) -> None:
    """Read everything once more, from the target: what is not the same there was not moved."""
    for path in paths:
        if _living(source, path) != _living(target, path) or dict(source.metadata(path)) != dict(
            target.metadata(path)
        ):
            raise StoreUnavailable(
                "not_the_same", f"{path} did not come over as it was; the old store stays in use"
            )
