"""One message to one channel by Apprise, in a process of its own that ends in time (`rotation.alerts.sender`)."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from broker.passed_on import passed_on
from clients.outbound import LOOPBACK, NotReachable, Reach
from rotation.alerts.answers import Answer, Fault
from rotation.alerts.packing import packed

TOTAL_S = 10.0
_START_S = 10.0
"""Until the process is there: a busy host takes its time."""

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "TZ", "SSL_CERT_FILE")
_ROOMY = 2**20


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is asked for: as many of the entries as the service takes at once, and not more than `most`.

    `last`: no other comes after it, so it counts what is not in it.
    """

    title: str
    entries: Sequence[tuple[str, str]]
    most: int = 1
    last: bool = False

    @property
    def text(self) -> str:
        """What it says where there is room for everything."""
        return packed(self.entries, _ROOMY, self.most, last=self.last)[0]

    @property
    def taken(self) -> Answer:
        """What is answered where all of that was taken."""
        return Answer(count=min(self.most, len(self.entries)))


def by_apprise(address: str, message: Message, reach: Reach = LOOPBACK, total_s: float = TOTAL_S) -> Answer:
    """Send one message; tell what came of it.

    Raises:
        NotReachable: Nothing may be sent there.
    """
    asked = {
        "address": address, "title": message.title, "entries": list(message.entries), "most": message.most,
        "last": message.last, "total_s": total_s, "allowed": [str(one) for one in reach.allowed],
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "rotation.alerts.sender"], input=json.dumps(asked).encode(),
            env=passed_on(_PASSED_ON), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=total_s + _START_S, check=False, start_new_session=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return Answer(Fault.SILENT)
    if "refused" in answer:
        raise NotReachable(answer["refused"])
    fault = answer["fault"]
    return Answer(Fault(fault) if fault else None, answer["count"], answer["code"])
