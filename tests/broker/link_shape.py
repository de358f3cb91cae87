"""What frames look like: `python -m tests.broker.link_shape` keeps it, once `frames.VERSION` has risen."""

import json
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from broker.link import frames

KEPT = Path(__file__).parents[1] / "vectors" / "link.json"


def shape(kinds: Iterable[type] = get_args(frames.Frame)) -> dict[str, list[str]]:
    """Return the fields of frames, and of what they are made of, with types and defaults."""
    found: dict[str, list[str]] = {}
    wanted = list(kinds)
    while wanted:
        kind = wanted.pop()
        if kind.__name__ in found:
            continue
        hints = get_type_hints(kind)
        wanted += _parts(list(hints.values()))
        found[kind.__name__] = [
            f"{spec.name}: {_text(hints[spec.name])}"
            + ("" if spec.default is MISSING else f" = {spec.default!r}")
            for spec in fields(kind)
        ]
    return dict(sorted(found.items()))


def _parts(hints: list[Any]) -> list[type]:
    """Return the kinds of values that frames have inside."""
    found = [hint for hint in hints if isinstance(hint, type) and is_dataclass(hint)]
    for hint in hints:
        found += _parts(list(get_args(hint)))
    return found


def _text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def kept() -> dict[str, Any]:
    """Return the version whose frames are kept, and these."""
    found: dict[str, Any] = json.loads(KEPT.read_text())
    return found


if __name__ == "__main__":
    before = kept() if KEPT.exists() else {"version": 0, "frames": {}}
    if before["version"] == frames.VERSION and before["frames"] != shape():
        raise SystemExit("the frames are others than those kept of this version: raise frames.VERSION first")
    KEPT.write_text(json.dumps({"version": frames.VERSION, "frames": shape()}, indent=1) + "\n")
