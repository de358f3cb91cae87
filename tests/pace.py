"""How much slower a processor is than an idle core, right now: work of others beside ours makes ours cost more CPU, too.

Two threads on one core take each up to twice the CPU time of one that is alone. A bound in CPU time is meant for an idle
core, so what was measured is divided by this.
"""

import time

_ROUNDS, _IDLE_S = 20_000, 0.00081
"""A loop, and what it takes on an idle core of the kind that the bounds were measured on."""


def slowness() -> float:
    """Return how many times longer a fixed piece of work takes now than on an idle core; never less than one."""
    began, total = time.thread_time(), 0
    for number in range(_ROUNDS):
        total += number
    return max(1.0, (time.thread_time() - began) / _IDLE_S)
