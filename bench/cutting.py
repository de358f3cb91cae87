"""Cuts and thaws by the API, one after the other, and waits each time until the flood trades again.

A process of its own, as the command line is: it shares neither loop nor interpreter with the broker. Each cut is a
line of JSON on stdout; instants are of the clock that all processes of a host share. Each stays for a moment, now and
then one for a second: what the venue took in its second half was not on its way as it closed.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx

_TRADES_S = 60.0
_MADE, _THAWED = 201, 200
_STAYS_S = 0.002
_LONG_S, _EVERY = 1.0, 50


class _Venue:
    """The venue's own count of orders, asked on one connection."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def seen(self) -> int:
        """Return how many orders have come."""
        return int((await self._client.get("/bench/seen")).json()["orders"])

    async def more(self, orders: int) -> None:
        """Wait until so many more have come: the flood trades."""
        first = await self.seen()
        async with asyncio.timeout(_TRADES_S):
            while await self.seen() < first + orders:  # noqa: ASYNC110 - the venue tells nobody
                await asyncio.sleep(0.01)


async def _cut(api: httpx.AsyncClient, venue: _Venue, cuts: int) -> None:
    await venue.more(100)
    for number in range(cuts):
        began = time.perf_counter()
        made = await api.post(
            "/cuts", json={"targets": ["consumer:bot"], "mode": "closed", "reason": "flood"}
        )
        said: dict[str, Any] = {
            "began": began,
            "answered": time.perf_counter(),
            "status": made.status_code,
            "document": made.json(),
            "shut_us": [time.time_ns() // 1000],
        }
        if made.status_code == _MADE:
            if number % _EVERY == 0:
                await asyncio.sleep(_LONG_S / 2)
                before = await venue.seen()
                await asyncio.sleep(_LONG_S / 2)
                said["late"] = await venue.seen() - before
            await asyncio.sleep(_STAYS_S)
            said["shut_us"].append(time.time_ns() // 1000)
            thawed = await api.post("/thaws", json={"cut": made.json()["id"], "reason": "flood"})
            if thawed.status_code != _THAWED:
                said["thaw"] = f"{thawed.status_code} {thawed.json().get('reason')}"
        _say(said)
        if "thaw" not in said and made.status_code == _MADE:
            await venue.more(20)
    _say({"orders": await venue.seen()})


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def _run(given: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {given['token']}"}
    base = f"http://127.0.0.1:{given['api']}/v1"
    async with (
        httpx.AsyncClient(base_url=base, headers=headers, timeout=20) as api,
        httpx.AsyncClient(base_url=given["venue"], timeout=20) as venue,
    ):
        await _cut(api, _Venue(venue), given["cuts"])


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.stdin.readline())))
