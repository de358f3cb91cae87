"""What every driver does: takes its steps in turn, and prints what each gave or raised, one line of JSON each.

The step `wait` gives the test the floor: it ends when the test writes a line.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Mapping

CONFIG = json.loads(sys.argv[1])
SECRET, PRIVATE_KEY = CONFIG.get("secret"), CONFIG.get("private_key")


async def got(value: object) -> object:
    """Return a value, of a synchronous client or an asynchronous one."""
    return await value if inspect.isawaitable(value) else value


def rows(found: object, *names: str) -> list:
    """Return some fields of each row, so that a test can name them."""
    return [[row[name] for name in names] for row in found]


async def take(driver: object) -> None:
    """Take the steps of the configuration; a step is a method of the driver."""
    for name in CONFIG["steps"]:
        line = {"step": name}
        if name == "wait":
            print(json.dumps(line), flush=True)
            sys.stdin.readline()
            continue
        try:
            line["saw"] = await got(getattr(driver, name)())
        except Exception as fault:
            line["raised"] = type(fault).__name__
            line["kinds"] = [kind.__name__ for kind in type(fault).__mro__]
            line["said"] = facts(fault)
        print(json.dumps(line), flush=True)


def facts(fault: Exception) -> Mapping:
    """Return what the libraries' own exceptions carry: HTTP status, code and text."""
    names = ("status_code", "code", "error_code", "error_message", "message")
    found = {name: getattr(fault, name, None) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, (int, str))} | {
        "text": str(fault)
    }


def drive(driver: object) -> None:
    """Run a driver to its end."""
    asyncio.run(take(driver))
