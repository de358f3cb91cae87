"""How a key comes back whose secret is lost (`broker.stores.held.LOST`), or what takes its place, in words. Pure.

A path is written once: only where nothing was ever written can the same key be imported again. What was destroyed, or
lies there and is none to sign with, takes its path with it, and another key has to come into use. Of a manager key the
name is taken as well: another one takes its place under another name.
"""

import re
from collections.abc import Collection
from itertools import count

_BACK = {
    "no_secret": "With its secret, import it again; else {else_}",
    "vault_deleted": "Take that back in Vault where it can be; else {else_}",
    "tampered": "Put the secret store back from a backup that has it; else {else_}",
}


def brought_back(reason: str, else_: str) -> str:
    """Say how a lost secret comes back, and what to do where it does not."""
    if reason in _BACK:
        return _BACK[reason].format(else_=else_)
    return f"Importing it again keeps nothing: {else_}"


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name for what takes the place of something: as it is called, with the first number that is free."""
    bare = re.sub(r"-[0-9]+$", "", name)[:50]
    return next(one for number in count(2) if (one := f"{bare}-{number}") not in taken)
