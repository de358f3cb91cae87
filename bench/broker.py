"""A small broker at the other end of a gateway's link: it grants, renews and takes the call log in, from memory.

What a gateway costs is to be measured, so its broker does what the link asks for and nothing more.
"""

import asyncio
from decimal import Decimal

from bench.bot import REAL, SYMBOLS, Key
from broker.link import frames
from broker.link.channel import StreamChannel
from broker.link.codec import BadFrame
from broker.model import KeyRef, chain
from broker.virtual_key import new_key_id, new_secret
from clients.secret import Secret
from clients.venue import Slot

GRANTS = 4
SLICE = Decimal(10) ** 12
_TTL_US = 15_000_000
_KEY = KeyRef("main", Slot.TRADE, 1)

POLICY = f"""
version = 1
mode = "enforce"
allow = ["market", "account", "trade", "wallet-read"]
symbols = [{", ".join(f'"{symbol}"' for symbol in SYMBOLS)}]
reference_asset = "USDT"
[order]
max_notional = "1000"
collar_percent = "5"
market = false
rate = {{orders = 10000, seconds = 1}}
[day]
max_notional = "{10 * SLICE}"
"""
"""Twenty rules: four endpoint groups, ten pairs, order cap, collar, kind, order rate, day limit, asset."""


class Broker:
    """Serves one gateway."""

    def __init__(self, channel: StreamChannel, upstream: str) -> None:
        self._channel, self._upstream = channel, upstream
        self.keys = [Key(new_key_id(), new_secret()) for _ in range(GRANTS)]
        self.lines = 0
        self.health: frames.Health | None = None
        self._slices = 0
        self._material_sent = False

    async def serve(self) -> None:
        """Answer frames until the link ends."""
        try:
            while (frame := await self._channel.receive()) is not None:
                self._take(frame)
        except BadFrame:
            self._channel.close()
            raise
        except asyncio.CancelledError:
            self._channel.close()

    def _take(self, frame: frames.Frame) -> None:
        send = self._channel.send
        match frame:
            case frames.Hello():
                mount = frames.Mount("binance", "binance", "paper", self._upstream)
                send(frames.Welcome(frames.VERSION, "paper", 1, (mount,), frames.EgressPart("direct"), ()))
                send(frames.Serves(()))
            case frames.OpenLease():
                self._lease(frame)
            case frames.Renew():
                send(frames.Renewed(frame.ask, tuple((lease, _TTL_US) for lease in frame.leases)))
            case frames.Calls():
                self.lines += len(frame.lines)
                send(frames.CallsKept(frame.boot, frame.first + len(frame.lines) - 1, frame.first))
            case frames.AskSlice():
                send(frames.SliceLent(frame.ask, "", self._slice()))
            case frames.OwnerQuery():
                send(frames.OwnerAnswer(frame.ask))
            case frames.Health():
                self.health = frame

    def _slice(self) -> frames.SlicePart:
        self._slices += 1
        return frames.SlicePart(f"slc_{self._slices}", SLICE)

    def _lease(self, frame: frames.OpenLease) -> None:
        number = next((at for at, key in enumerate(self.keys) if key.key_id == frame.key_id), None)
        if number is None:
            self._channel.send(frames.LeaseRefused(frame.ask, frame.key_id, "unknown_key"))
            return
        if not self._material_sent:
            self._material_sent = True
            self._channel.send(frames.Material(str(_KEY), REAL.key_id, "hmac", Secret(REAL.secret)))
        scopes = chain("binance", _KEY, "local", f"bot-{number}", f"grt_{number}")
        self._channel.send(
            frames.LeaseGranted(
                frame.ask, f"lse_{number}", frame.key_id, f"grt_{number}", f"bot-{number}", "main", "binance",
                str(_KEY), scopes, (0,) * len(scopes), _TTL_US, POLICY, 1, False,
                frames.VerifierPart("hmac", Secret(self.keys[number].secret)), frames.EgressPart("direct"),
                self._upstream, SLICE, self._slice(),
            )
        )  # fmt: skip
