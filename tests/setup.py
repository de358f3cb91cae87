"""`python -m tests.setup`: the environments with unmodified bot libraries, outside of the repository.

Rules:
1. One environment per set of pins, named by them. It is made in a folder of its own and renamed once it is whole,
   so that neither an interruption nor a second run beside it leaves half of one.
2. Says what it does, what it could not get, and which tests that leaves out. With `CI` set, that is a failure.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lacking import in_ci

PINS = {
    "main": ("ccxt==4.5.90", "python-binance==1.0.37", "binance-sdk-spot==13.2.0"),
    # shares an import name with python-binance
    "connector": ("binance-connector==3.13.0",),
}
TESTS = {
    "main": "the tests of ccxt, python-binance and binance-sdk-spot in tests/foreign",
    "connector": "the tests of binance-connector in tests/foreign",
}
_WHOLE = "whole"


def missing(name: str) -> str:
    """Say what is left out without an environment, and what to do."""
    return (
        f"no environment {name!r} ({', '.join(PINS[name])}): {TESTS[name]} are left out; "
        "`python -m tests.setup` makes it"
    )


def folder(name: str) -> Path:
    """Return where an environment lives."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    text = f"{sys.version_info[:2]} {' '.join(PINS[name])}"
    return cache / "portcullis" / "foreign" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def python(name: str) -> Path | None:
    """Return the interpreter of an environment, if it is whole and its base interpreter still there."""
    where = folder(name)
    interpreter = where / "bin" / "python"
    return interpreter if (where / _WHOLE).exists() and interpreter.exists() else None


def make(name: str) -> bool:
    """Make an environment; tell whether it is there afterwards."""
    where = folder(name)
    if python(name) is not None:
        print(f"{name}: there already, {where}", flush=True)
        return True
    print(f"{name}: installing {', '.join(PINS[name])} (a minute or two, once)", flush=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{where.name}.", dir=where.parent))
    try:
        fault = _fill(fresh, PINS[name])
        if fault is None:
            _put(fresh, where)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    if fault is None:
        print(f"{name}: made, {where}", flush=True)
        return True
    print(f"{name}: {fault}\n{missing(name)}", file=sys.stderr, flush=True)
    return False


def _fill(fresh: Path, pins: tuple[str, ...]) -> str | None:
    """Install into a new folder; return what went wrong."""
    pip = (fresh / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    for what, command in (
        ("could not make a virtual environment", (sys.executable, "-m", "venv", fresh)),
        ("could not install", (*pip, *pins)),
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            return f"{what}: {said[-1]}"
    (fresh / _WHOLE).touch()
    return None


def _put(fresh: Path, where: Path) -> None:
    """Rename a whole environment into place, unless another run was faster."""
    if where.exists() and not ((where / _WHOLE).exists() and (where / "bin" / "python").exists()):
        shutil.rmtree(where)  # half of one, or its base interpreter is gone
    try:
        fresh.rename(where)
    except OSError:
        if not (where / _WHOLE).exists():
            raise


def main() -> int:
    """Make every environment."""
    made = [make(name) for name in PINS]
    return 1 if in_ci() and not all(made) else 0


if __name__ == "__main__":
    sys.exit(main())
