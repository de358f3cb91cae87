"""What a database forgot, as the reason of the cut that stands in for it says it: what, and what does it again.

Such a cut is not to be thawed first: that would give back what was taken away.
"""

import re

from broker.service.audit import ITSELF

_COMMAND = re.compile(r"do it again \(`(portcullis grant (?:revoke|reissue|policy) [\w ./:=@+-]+)`\)")
"""Who writes a cut into the secret store may call themselves what they like: no other command is repeated."""


def reason(what: str, command: str) -> str:
    """Return the reason of a cut that holds what the database gave again."""
    return f"the database forgot that {what}; do it again (`{command}`), or look why not, then thaw this"


def command_in(actor: str, reason: str) -> str | None:
    """Return the command that does again what a cut stands in for; None where it is no such cut."""
    found = _COMMAND.search(reason) if actor == ITSELF else None
    return None if found is None else found[1]
