"""What of this host belongs to a home: no key of an exchange is ever written into it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from broker.files.ours import Ours
from portcullis.install import UNIT
from portcullis.settings import Home, state_directory


def ours_of(home: Home) -> Ours:
    """Return what no key may be written into: the home, sessions, and every file that `home.json` names."""
    documents = [one for one in (home.vault, home.database, home.audit) if one is not None]
    named = (path for document in documents for path in _paths_in(document))
    state = state_directory()
    return Ours((home.root,) if state is None else (home.root, state), (UNIT, *named))


def _paths_in(document: BaseModel) -> Iterator[Path]:
    """Yield every file that settings name."""
    for name in type(document).model_fields:
        value = getattr(document, name)
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Path):
                yield one.expanduser()
            elif isinstance(one, BaseModel):
                yield from _paths_in(one)
