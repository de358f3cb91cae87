"""The rights a test of files runs with: fewer than root has, or a mount space of its own. Neither needs privilege."""

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lacking import lack

_ROOT = Path(__file__).parents[3]
_VERSION_3 = 0x20080522  # linux/capability.h, and the numbers below
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_SPACES = (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount"))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32),
    )  # fmt: skip


@contextmanager
def as_everybody() -> Iterator[None]:
    """Let the bits of a file's mode hold for us too, as they do for whoever is not root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = _Header(_VERSION_3, 0), (_Word * 2)()

    def call(function: str) -> None:
        if getattr(libc, function)(ctypes.byref(header), words) != 0:
            raise OSError(ctypes.get_errno(), function)

    call("capget")
    before = words[0].effective
    words[0].effective = before & ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    call("capset")
    try:
        yield
    finally:
        words[0].effective = before
        call("capset")


@functools.cache
def _space() -> tuple[tuple[str, ...], str]:
    """Return what makes a mount space here, and what was said by what does not."""
    said = []
    for command in _SPACES:
        try:
            with TemporaryDirectory(prefix="portcullis-mount-") as here:
                done = subprocess.run(
                    [*command, "mount", "--bind", here, here], capture_output=True, text=True, check=False
                )
        except FileNotFoundError:
            return (), "there is no `unshare` (util-linux)"
        if done.returncode == 0:
            return command, ""
        said.append(done.stderr.strip())
    return (), "; ".join(said)


def mounted(source: Path, target: Path, script: str) -> str:
    """Run a script where a source is bound onto a target, in a mount space of its own."""
    command, fault = _space()
    if not command:
        lack(
            "nobody may mount here, not even in a user namespace of their own, so that real bind mounts are left "
            f"out ({fault}); run as root, or let users make namespaces (kernel.unprivileged_userns_clone)"
        )
    code = f"mount --bind '{source}' '{target}' && exec '{sys.executable}' -c \"$0\""
    done = subprocess.run(
        [*command, "sh", "-c", code, script], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
