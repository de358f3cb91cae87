"""What a bot author pastes: per client library, how to name the gateway and the virtual key. Pure.

Rules:
1. `127.0.0.1`, never `localhost`: some clients try IPv6 first. From a container: `host.docker.internal`.
2. Every address group of ccxt is replaced, also those the gateway refuses: a virtual key must never reach the
   real exchange.
3. Most SDKs send even loopback calls to a proxy named in the environment; the recipes that need it say so.

Source: `bot-clients` fact sheet, sections 3, 4.1 and 6, measured with the versions it names.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOUNT = "binance"
PLACEHOLDER = "<the secret shown when the grant was made>"

_GROUPS = {
    "public": "api/v3", "private": "api/v3", "v1": "api/v1",
    "sapi": "sapi/v1", "sapiV2": "sapi/v2", "sapiV3": "sapi/v3", "sapiV4": "sapi/v4",
    "fapiPublic": "fapi/v1", "fapiPublicV2": "fapi/v2", "fapiPublicV3": "fapi/v3",
    "fapiPrivate": "fapi/v1", "fapiPrivateV2": "fapi/v2", "fapiPrivateV3": "fapi/v3",
    "fapiData": "futures/data", "dapiPublic": "dapi/v1", "dapiPrivate": "dapi/v1",
    "dapiPrivateV2": "dapi/v2", "dapiData": "futures/data",
    "eapiPublic": "eapi/v1", "eapiPrivate": "eapi/v1", "papi": "papi/v1", "papiV2": "papi/v2",
}  # fmt: skip
_NO_PROXY = "# With a proxy in the environment, also set: NO_PROXY={host}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bot finds its gateway, and the virtual key it holds. `gateway` as in http://127.0.0.1:8700."""

    gateway: str
    key_id: str
    secret: str = PLACEHOLDER

    @property
    def base(self) -> str:
        """Base URL of the venue's mount."""
        return f"{self.gateway}/{MOUNT}"

    @property
    def host(self) -> str:
        """Host name alone, as `NO_PROXY` takes it: without brackets."""
        return self.gateway.split("//", 1)[1].rsplit(":", 1)[0].strip("[]")


def ccxt_config(place: Place) -> dict[str, Any]:
    """Return the whole dictionary for `ccxt.binance(...)`: spot, every address group at the gateway."""
    return {
        "apiKey": place.key_id,
        "secret": place.secret,
        "urls": {"api": {group: f"{place.base}/{path}" for group, path in _GROUPS.items()}},
        "options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
    }


def short_ccxt(place: Place) -> str:
    """Return a ccxt snippet that fits on a screen; it builds the same dictionary.

    It can be pasted into a file and into Python's prompt, which wants an empty line after each block: there is none.
    """
    return (
        "import ccxt\n"
        f'S = "{place.base}"\n'
        "exchange = ccxt.binance({\n"
        f'    "apiKey": "{place.key_id}",\n'
        f'    "secret": "{place.secret}",\n'
        '    "options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},\n'
        "})\n"
        'exchange.urls["api"] = {\n'
        '    group: S + "/" + url.split("/", 3)[3] for group, url in exchange.urls["api"].items()\n'
        "}\n"
        'print(exchange.create_order("BTC/USDT", "market", "buy", 0.001))'
    )


def _ccxt(place: Place) -> str:
    return f"import ccxt\n\nexchange = ccxt.binance({_shown(place)})\nprint(exchange.fetch_balance())\n"


def _ccxt_async(place: Place) -> str:
    return (
        "import asyncio\nimport ccxt.async_support as ccxt\n\n\nasync def main():\n"
        f"    exchange = ccxt.binance({_shown(place)})\n"
        "    try:\n        print(await exchange.fetch_balance())\n"
        "    finally:\n        await exchange.close()\n\n\nasyncio.run(main())\n"
    )


def _shown(place: Place) -> str:
    return json.dumps(ccxt_config(place), indent=4)


def _python_binance(place: Place) -> str:
    return (
        "from binance.client import Client\n\n"
        "# Class attributes, before anything is constructed: the constructor pings the exchange.\n"
        f'Client.API_URL = "{place.base}/api"\nClient.MARGIN_API_URL = "{place.base}/sapi"\n'
        f'Client.FUTURES_URL = "{place.base}/fapi"\n\n'
        f'client = Client("{place.key_id}", "{place.secret}")\nprint(client.get_account())\n'
        f"{_NO_PROXY.format(host=place.host)}\n"
    )


def _sdk_spot(place: Place) -> str:
    return (
        "from binance_sdk_spot.spot import ConfigurationRestAPI, Spot\n\n"
        "client = Spot(config_rest_api=ConfigurationRestAPI(\n"
        f'    api_key="{place.key_id}",\n    api_secret="{place.secret}",\n    base_path="{place.base}",\n'
        "))\nprint(client.rest_api.get_account().data())\n"
        f"{_NO_PROXY.format(host=place.host)}\n"
    )


def _connector(place: Place) -> str:
    return (
        "from binance.spot import Spot\n\n"
        f'client = Spot(api_key="{place.key_id}", api_secret="{place.secret}", base_url="{place.base}")\n'
        f"print(client.account())\n{_NO_PROXY.format(host=place.host)}\n"
    )


def _freqtrade(place: Place) -> str:
    config = ccxt_config(place)
    exchange = {
        "name": "binance", "key": config["apiKey"], "secret": config["secret"],
        "enable_ws": False,  # else candles come from the exchange itself, past the gateway and the paper exchange
        "ccxt_config": {"urls": config["urls"], "options": config["options"]},
    }  # fmt: skip
    return json.dumps({"exchange": exchange}, indent=4) + "\n"


def _curl(place: Place) -> str:
    return (
        f"KEY='{place.key_id}'\nread -rs -p 'virtual secret: ' SECRET; echo\n"
        'Q="timestamp=$(date +%s000)&recvWindow=5000"\n'
        'SIGNATURE=$(printf %s "$Q" | openssl dgst -sha256 -hmac "$SECRET" | sed \'s/^.* //\')\n'
        f'curl -sS -H "X-MBX-APIKEY: $KEY" "{place.base}/api/v3/account?$Q&signature=$SIGNATURE"\n'
    )


RECIPES: dict[str, Callable[[Place], str]] = {
    "ccxt": _ccxt,
    "ccxt-async": _ccxt_async,
    "python-binance": _python_binance,
    "binance-sdk-spot": _sdk_spot,
    "binance-connector": _connector,
    "freqtrade": _freqtrade,
    "curl": _curl,
}
