"""One message to one channel by Apprise, in a process of its own that ends in time (`rotation.alerts.sender`)."""

import json
import subprocess
import sys

from broker.passed_on import passed_on
from clients.outbound import LOOPBACK, NotReachable, Reach

TOTAL_S = 10.0
_START_S = 10.0
"""Until the process is there: a busy host takes its time."""

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "TZ", "SSL_CERT_FILE")


def by_apprise(
    address: str, title: str, body: str, reach: Reach = LOOPBACK, total_s: float = TOTAL_S
) -> bool:
    """Send one message; tell whether it was taken.

    Raises:
        NotReachable: Nothing may be sent there.
    """
    asked = {
        "address": address, "title": title, "body": body, "total_s": total_s,
        "allowed": [str(one) for one in reach.allowed],
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "rotation.alerts.sender"], input=json.dumps(asked).encode(),
            env=passed_on(_PASSED_ON), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=total_s + _START_S, check=False, start_new_session=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return False
    if "refused" in answer:
        raise NotReachable(answer["refused"])
    return answer.get("taken") is True
