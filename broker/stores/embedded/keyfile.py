"""The key-encryption key in its file, and its rotation: whatever dies in the middle, the store opens.

Rotation, in this order; each step is on the disk before the next begins:
1. The new key is written to `kek.next`.
2. The data key is sealed under it, in one transaction. Before that `kek` opens the store, after it `kek.next` does.
3. The old seal leaves the write-ahead log: who has the old key and takes the files later finds nothing for it.
4. The old key is written over, as far as the disk lets, and `kek.next` takes its name.

Rules:
1. Whoever opens the store takes the key that opens it. A `kek.next` that opens it is what a rotation left after step 2:
   the opening finishes that; one that does not is what it left before, and the next rotation removes it.
2. A key that nothing can take the place of (a mount of its own) is not rotated: whoever takes it away takes what was
   written to it. What an earlier try left beside one is written into it, where it lies.
3. Only who holds the lock on `kek.lock` writes, renames or removes a key, and looks first which one opens the store.
4. Processes at work hold the data key, which stays the same: they go on through a rotation, and started anew they read
   the new key.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.errors import Conflict, StoreUnavailable
from broker.files import mounts
from broker.stores.embedded import key
from broker.stores.embedded.store import EmbeddedStore

_ATTEMPTS = 20
_BETWEEN_S = 0.05
_PATIENCE_S = 10.0
"""How long the write-ahead log is tried: whoever reads just now holds it."""

_WRONG = "wrong_key"
_EARLIER = "what an earlier try had left was brought to its end, and no new key was made"
_MOUNTS = mounts.LISTED


@dataclass(frozen=True, slots=True)
class Rotated:
    """What became of a rotation. `old_seal_gone`: whether the file holds nothing any more that the old key opens."""

    old_seal_gone: bool
    old_key_gone: bool


def beside(kek: Path, what: str) -> Path:
    """Return the file beside the key's own that is used while it is changed: `next`, or `lock`."""
    return kek.with_name(f"{kek.name}.{what}")


def open_store(path: Path, kek: Path, now_us: int) -> EmbeddedStore:
    """Open the store with the key that opens it, and finish a rotation that was broken off.

    Raises:
        StoreUnavailable: No key there is the one that the store was sealed with, or a file cannot be used.
    """
    store = _opened(path, kek, now_us)
    if beside(kek, "next").exists():
        with contextlib.suppress(Conflict, StoreUnavailable, OSError), _locked(kek):
            _finish(store, kek)  # or somebody is at it; the store is open all the same
    return store


def rotate(
    store: EmbeddedStore, kek: Path, now_us: int, step: Callable[[str], None] = lambda _: None
) -> Rotated:
    """Seal the store under a new key, which takes the old one's place.

    Args:
        store: Open.
        kek: Where its key is.
        now_us: When the new key was made.
        step: Told the name of each step, right after it was done.

    Raises:
        Conflict: Another rotation is at work.
        StoreUnavailable: The key is not the one in use, or a file cannot be written; the store opens as before.
    """
    following = beside(kek, "next")
    with _locked(kek):
        step("locked")
        left = following.is_symlink() or following.exists()
        _ended(store, kek, step)
        old = key.from_file(kek)
        if not store.opens_with(old):
            raise StoreUnavailable(
                _WRONG, f"{kek} is not the key that the store is sealed with; nothing was changed"
            )
        if _is_mounted(kek):
            raise StoreUnavailable(
                "key_file",
                f"{kek} is mounted by itself, so nothing can take its place: mount the directory that it lies in, or "
                f"run this where the file is; {_EARLIER if left else 'nothing was changed'}",
            )
        fresh = key.fresh()
        try:
            key.to_file(following, fresh)
            _sync(kek.parent)
        except OSError as fault:
            with contextlib.suppress(OSError):
                following.unlink()
            raise StoreUnavailable(
                "key_file", f"{following} cannot be written ({fault.strerror}); nothing was changed"
            ) from None
        step("written")
        store.rewrap(old, fresh, now_us)
        step("sealed")
        return Rotated(*_ended(store, kek, step))


def _opened(path: Path, kek: Path, now_us: int) -> EmbeddedStore:
    """Open with either key; a name that was just taken over is looked at again, and again while it goes on."""
    mark: object = None
    for attempt in range(_ATTEMPTS):
        before, mark = mark, _mark(kek)
        pending, faults = beside(kek, "next").exists(), []
        for one in (kek, beside(kek, "next")):
            try:
                return EmbeddedStore(path, key.from_file(one), now_us)
            except StoreUnavailable as found:
                faults.append(found)
        if attempt and not pending and before == mark == _mark(kek):
            break
        time.sleep(_BETWEEN_S)
    raise faults[0]


def _mark(kek: Path) -> object:
    """Return what changes as another file takes the name; None where there is none."""
    with contextlib.suppress(OSError):
        found = kek.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _ended(
    store: EmbeddedStore, kek: Path, step: Callable[[str], None] = lambda _: None
) -> tuple[bool, bool]:
    """Bring what was broken off to its end, or say where the key in use is.

    Raises:
        StoreUnavailable: It cannot be; the store opens as before.
    """
    following = beside(kek, "next")
    try:
        return _finish(store, kek, step)
    except OSError as fault:
        if _opens(store, kek):
            raise StoreUnavailable(
                "key_file",
                f"{kek} opens the store, and {following} beside it, which is not needed, cannot be removed "
                f"({fault.strerror}): remove it, and run this again",
            ) from None
        raise StoreUnavailable(
            "key_file",
            f"the store is sealed under the new key in {following}, which could not take the name of {kek} "
            f"({fault.strerror}): leave both where they are, mend it, and run this again",
        ) from None


def _finish(
    store: EmbeddedStore, kek: Path, step: Callable[[str], None] = lambda _: None
) -> tuple[bool, bool]:
    """Bring what was broken off to its end, under the lock: by which key opens the store."""
    following = beside(kek, "next")
    if not (following.exists() or following.is_symlink()):
        return True, True
    if not _opens(store, following):
        if _opens(store, kek):
            following.unlink()  # it never sealed anything
            _sync(kek.parent)
        return True, True
    gone = _flushed(store)
    step("flushed")
    if _is_mounted(kek):
        _fill(kek, following)
        step("filled")
        if not _opens(store, kek):
            raise OSError(errno.EIO, "it does not hold what was written to it")
        following.unlink()
        step("unlinked")
        _sync(kek.parent)
        return gone, True
    overwritten = _overwritten(kek)
    step("overwritten")
    following.replace(kek)
    step("renamed")
    _sync(kek.parent)
    step("synced")
    return gone, overwritten


def _is_mounted(path: Path) -> bool:
    """Tell whether a file is a mount of its own, as a container's single file is: it cannot be replaced there."""
    return mounts.is_mounted(path, _MOUNTS)


def _fill(path: Path, source: Path) -> None:
    """Write a key into a file that stays; `source` opens the store until that is done, whenever it breaks off."""
    text = key.from_file(source).reveal().strip() + "\n"
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        file.truncate()
        os.fsync(fd)


def _opens(store: EmbeddedStore, path: Path) -> bool:
    try:
        return store.opens_with(key.from_file(path))
    except (StoreUnavailable, ValueError):
        return False


def _flushed(store: EmbeddedStore) -> bool:
    ends_s = time.monotonic() + _PATIENCE_S
    while not store.flush():
        if time.monotonic() > ends_s:
            return False
        time.sleep(_BETWEEN_S)
    return True


def _overwritten(path: Path) -> bool:
    """Write over a key's file; a file system that copies on write keeps the old blocks for a while all the same."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        os.pwrite(fd, os.urandom(os.fstat(fd).st_size), 0)
        os.fsync(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _locked(kek: Path) -> Iterator[None]:
    """Hold the lock, which is gone with the process.

    Raises:
        Conflict: Somebody else holds it.
        StoreUnavailable: The file cannot be used.
    """
    lock = beside(kek, "lock")
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise StoreUnavailable(
            "key_file", f"{lock} cannot be used ({fault.strerror}); nothing was changed"
        ) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "key_rotating", "another rotation of the store's key is at work; wait for it"
            ) from None
        yield
    finally:
        os.close(fd)
