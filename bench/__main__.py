"""`python -m bench`: measure, print, and with `--write` put the figures into docs/measurements.md."""

import argparse
import asyncio
import os
import sys

from bench import cut, report, rounds
from bench.processes import NotReady
from bench.systems import ALL

LEVELS = (1, 16, 64)


def main() -> int:
    """Run everything that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two short rounds and small cuts: a look, no figures"
    )
    parser.add_argument("--write", action="store_true", help="write the figures into docs/measurements.md")
    parser.add_argument("--rounds", type=int, help="how often each system runs at each number of connections")
    parser.add_argument("--seconds", type=float, help="how long a run lasts, at most 7")
    parser.add_argument("--systems", default=",".join(ALL), help="comma-separated; direct is always measured")
    parser.add_argument("--no-cut", action="store_true", help="leave the cuts out")
    arguments = parser.parse_args()
    wanted = arguments.systems.split(",")
    if unknown := [name for name in wanted if name not in ALL]:
        parser.error(f"no such system: {', '.join(unknown)}; known are {', '.join(ALL)}")
    names = [name for name in ALL if name == "direct" or name in wanted]
    many = arguments.rounds or (2 if arguments.quick else 5)
    seconds = min(arguments.seconds or (0.7 if arguments.quick else 2.0), 7.0)
    load = f"{os.getloadavg()[0]:.2f}"
    if os.getloadavg()[0] > 0.5:
        print("this machine is busy with something else: figures will be too high", file=sys.stderr)
    try:
        measured = asyncio.run(rounds.measure(names, LEVELS, many, seconds))
        cuts = None
        if not arguments.no_cut:
            cuts = asyncio.run(cut.measure((1, 1000) if arguments.quick else (1, 10_000), many))
    except (rounds.WrongRun, NotReady) as fault:
        print(f"no figures: {fault}", file=sys.stderr)
        return 1
    text = report.page(measured, cuts, " ".join(["python -m bench", *sys.argv[1:]]), load)
    print("\n" + text)
    if arguments.write:
        report.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
