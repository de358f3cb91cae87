"""Which of our variables a program gets that we start.

Rules:
1. None but those that are named: another one could hold a secret.
2. A list of directories keeps whole paths only. An empty or relative part is the directory that we were started in:
   whoever may write there would run as we do.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_LISTS = frozenset({"PATH", "PYTHONPATH"})


def passed_on(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of these names that are set."""
    found = {name: _whole(name, environ[name]) for name in names if name in environ}
    return {name: value for name, value in found.items() if value or name not in _LISTS}


def _whole(name: str, value: str) -> str:
    if name not in _LISTS:
        return value
    return os.pathsep.join(part for part in value.split(os.pathsep) if Path(part).is_absolute())
