"""Next steps that can be taken: while everything is closed by itself, the comparison comes before what waits for it."""

import re

from broker.deeds import Deed, No
from broker.service.host_guard import HostGuard

COMPARE = "portcullis reconcile"
_WAITS = re.compile(
    r"\bportcullis (?:rotation (?:start|resume|rollback|answer|waive|drop)|key (?:import|retire)|sweep run|"
    r"destination key|checkout open)\b"
)
"""Commands of deeds that need the record to be compared with the exchanges (`broker.deeds`)."""


def waits(guard: HostGuard) -> bool:
    """Tell whether what a person asks of keys is refused until the record was compared with the exchanges."""
    no: No | None = guard.allows(Deed.ASKED)
    return no is not None and no.reason == "not_compared"


def possible(step: str) -> str:
    """Return a step as it can be taken while that is so: the comparison first, where it needs one."""
    return f"{COMPARE}, then {step}" if _WAITS.search(step) and COMPARE not in step else step
