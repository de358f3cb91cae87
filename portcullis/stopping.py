"""How a process without an event loop waits until it is told to end."""

import os
import signal


class Stop:
    """Waits for signals that end this process.

    Their handler takes no lock: it runs amid whatever the main thread does, and a second signal amid the handler of the
    first. Setting an event there waited for itself, and a rotator lived on after its broker, deaf to SIGTERM. Whoever
    was told once is told: later signals are ignored, so that no flood of them piles handlers up.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self._signals = signals
        self._told, self._tell = os.pipe()
        for number in signals:
            signal.signal(number, self._heard)

    def wait(self) -> None:
        """Return once one of the signals came, or has come before."""
        os.read(self._told, 1)

    def _heard(self, *_: object) -> None:
        for number in self._signals:
            signal.signal(number, signal.SIG_IGN)
        os.write(self._tell, b".")
