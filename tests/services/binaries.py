"""`python -m tests.services.binaries`: real servers for the tests, built once from their published Go modules.

Rules:
1. One folder per name and version in the cache, outside of the repository; a binary is renamed into it when whole.
2. A lock per service: two test runs do not build the same twice.
3. A variable (`VAULT_BIN` ...) names a binary of your own; it is used as it is.
4. Says what it does and how long that took, what it could not get, and which tests that leaves out. With `CI` set,
   that is a failure.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lacking import in_ci, lack

HERE = Path(__file__).parent
SAY_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Binary:
    """A program we build: `folder` holds its Go module, `package` is what of it is built."""

    name: str
    version: str
    folder: str
    variable: str
    takes: str
    tests: str
    package: str = "."
    tags: str = ""


_KUBERNETES = "the tests of Kubernetes logins on a real Kubernetes API"
_PLUGIN = "vault-plugin-auth-kubernetes"
BINARIES = {
    one.name: one
    for one in (
        Binary(
            "vault", "1.21.0", "vault", "VAULT_BIN", "five to eight minutes", "all tests on a real Vault",
            tags="minimal",
        ),
        Binary(
            _PLUGIN, "0.23.1", "vault_kubernetes", "VAULT_KUBERNETES_BIN", "a minute", _KUBERNETES,
            package=f"github.com/hashicorp/{_PLUGIN}/cmd/{_PLUGIN}",
        ),
        Binary("etcd", "3.6.16", "etcd", "ETCD_BIN", "a minute", _KUBERNETES),
        Binary("kube-apiserver", "1.36.3", "kubernetes_api", "KUBE_APISERVER_BIN", "three to five minutes", _KUBERNETES),
    )
}  # fmt: skip


def cache() -> Path:
    """Return where binaries are kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "portcullis" / "services"


def find(name: str) -> Path | None:
    """Return a binary that can be used, or None."""
    wanted = BINARIES[name]
    named = os.environ.get(wanted.variable)
    path = Path(named) if named else cache() / f"{name}-{wanted.version}" / name
    return path if os.access(path, os.X_OK) else None


def missing(name: str) -> str:
    """Say what is left out without a binary, and what to do."""
    wanted = BINARIES[name]
    return (
        f"no {name} {wanted.version}: {wanted.tests} are left out; `python -m tests.services.binaries` builds it "
        f"(with Go 1.26 or newer), or name one: {wanted.variable}=/path/to/{name}"
    )


def need(*names: str) -> None:
    """Skip the test where a binary is missing; in CI, fail it."""
    for name in names:
        if find(name) is None:
            lack(missing(name))


def build(name: str) -> bool:
    """Build a binary where there is none; tell whether it is there afterwards."""
    wanted = BINARIES[name]
    where = cache() / f"{name}-{wanted.version}"
    where.mkdir(parents=True, exist_ok=True)
    with (where / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if find(name) is not None:
            _say(f"{name} {wanted.version}: there already")
            return True
        if os.environ.get(wanted.variable):
            _complain(f"{wanted.variable} names nothing that can be run. {missing(name)}")
            return False
        if shutil.which("go") is None:
            _complain(f"no Go toolchain. {missing(name)}")
            return False
        _say(
            f"{name} {wanted.version}: building it from its published module, once; {wanted.takes} on 2 cores"
        )
        began = time.monotonic()
        fault = _compile(wanted, where)
        took = round(time.monotonic() - began)
    if fault is not None:
        _complain(f"{name}: the build failed after {took} s: {fault}\n{missing(name)}")
        return False
    _say(f"{name} {wanted.version}: built in {took} s")
    return True


def _compile(wanted: Binary, where: Path) -> str | None:
    """Build into a fresh file and rename it; return what went wrong."""
    fresh = where / f"{wanted.name}.new"
    tags = ("-tags", wanted.tags) if wanted.tags else ()
    command = (
        "go", "build", *tags, "-modcacherw", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", str(fresh), wanted.package,
    )  # fmt: skip
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(wanted.name, over), daemon=True)
    teller.start()
    try:
        done = subprocess.run(command, cwd=HERE / wanted.folder, check=False, capture_output=True, text=True)
    finally:
        over.set()
        teller.join()
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        return said[-1]
    fresh.rename(where / wanted.name)
    return None


def _tell(name: str, over: threading.Event) -> None:
    began = time.monotonic()
    while not over.wait(SAY_EVERY_S):
        _say(f"{name}: still building, {round(time.monotonic() - began)} s")


def _say(text: str) -> None:
    print(text, flush=True)


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Build what is missing."""
    built = [build(name) for name in BINARIES]
    return 1 if in_ci() and not all(built) else 0


if __name__ == "__main__":
    sys.exit(main())
