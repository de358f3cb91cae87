"""`python -m tests.setup`: the environments with unmodified bot libraries, outside of the repository.

Rules:
1. One environment per set of pins, named by them; it counts only once its last file says that it is whole.
2. Says what it does, what it could not get, and which tests that leaves out. With `CI` set, that is a failure.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PINS = {
    "main": ("ccxt==4.5.90", "python-binance==1.0.37", "binance-sdk-spot==13.2.0"),
    # shares an import name with python-binance
    "connector": ("binance-connector==3.13.0",),
}
_WHOLE = "whole"


def in_ci() -> bool:
    """Tell whether a missing environment is a failure."""
    return bool(os.environ.get("CI"))


def folder(name: str) -> Path:
    """Return where an environment lives."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    text = f"{sys.version_info[:2]} {' '.join(PINS[name])}"
    return cache / "portcullis" / "foreign" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def python(name: str) -> Path | None:
    """Return the interpreter of an environment, if it is whole."""
    where = folder(name)
    return where / "bin" / "python" if (where / _WHOLE).exists() else None


def make(name: str) -> bool:
    """Make an environment; tell whether it is there afterwards."""
    if python(name) is not None:
        return True
    where = folder(name)
    shutil.rmtree(where, ignore_errors=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    print(f"making the environment {name!r}: {', '.join(PINS[name])} (a minute or two, once)", flush=True)
    venv.create(where, with_pip=True)
    done = subprocess.run(
        [
            where / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *PINS[name],
        ],
        check=False,
    )
    if done.returncode != 0:
        print(
            f"could not install {', '.join(PINS[name])}: the tests in tests/foreign that need {name!r} are left out"
        )
        return False
    (where / _WHOLE).touch()
    return True


def main() -> int:
    """Make every environment."""
    made = [make(name) for name in PINS]
    if all(made):
        print("bot libraries are ready")
        return 0
    return 1 if in_ci() else 0


if __name__ == "__main__":
    sys.exit(main())
