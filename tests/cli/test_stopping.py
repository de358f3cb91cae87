"""A process that is told to end does, however often it is told, and whatever it does just then."""

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

pytestmark = pytest.mark.process

WAITS = """
import os, signal, threading
from portcullis.stopping import Stop

entered, left = threading.Condition.__enter__, [3]

def amid(self):
    got = entered(self)
    if left[0]:
        left[0] -= 1
        os.kill(os.getpid(), signal.SIGTERM)
    return got

stop = Stop(signal.SIGTERM, signal.SIGINT)
if {amid}:
    threading.Condition.__enter__ = amid
print("ready", flush=True)
stop.wait()
left[0] = 0
print("over", flush=True)
"""


@pytest.mark.parametrize("amid", [True, False], ids=["amid a lock", "many"])
def test_signals_in_one_breath_end_it(amid: bool) -> None:
    """A rotator whose broker was killed stood with several handlers on its stack, each waiting for the one below."""
    program = WAITS.format(amid=amid)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            for number in range(1 if amid else 20_000):
                if process.poll() is not None:
                    break
                with suppress(ProcessLookupError):
                    process.send_signal((signal.SIGTERM, signal.SIGINT)[number % 2])
            code, said = process.wait(180), process.stdout.read()
            if amid:
                assert (code, said) == (0, "over\n")
            else:  # one that comes as it has ended already ends it in its own way
                assert code in {0, -signal.SIGTERM, -signal.SIGINT}
        finally:
            process.kill()
