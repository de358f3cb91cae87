"""Recipes lead to the gateway and nowhere else; screens and logs keep what they should not show."""

import ast
import json
import logging
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from clients.secret import MARK, Secret
from portcullis import logs
from portcullis.cli.face import program
from portcullis.cli.tables import amount, micros, when
from portcullis.peers import REMEMBERED_US, Peers
from portcullis.recipes import PLACEHOLDER, RECIPES, Place, ccxt_config, short_ccxt

PLACE = Place("http://127.0.0.1:8700", "PCLSKEY", "virtual-secret")


@pytest.mark.parametrize("library", sorted(RECIPES))
def test_a_recipe_names_the_gateway_the_key_and_no_other_host(library: str) -> None:
    text = RECIPES[library](PLACE)
    assert "http://127.0.0.1:8700/binance" in text
    assert "PCLSKEY" in text
    assert "localhost" not in text
    for line in text.splitlines():
        assert "binance.com" not in line


@pytest.mark.parametrize(
    "library", ["ccxt", "ccxt-async", "python-binance", "binance-sdk-spot", "binance-connector"]
)
def test_a_recipe_in_python_is_python(library: str) -> None:
    ast.parse(RECIPES[library](PLACE))


def test_the_recipe_for_freqtrade_is_json_and_the_one_for_curl_is_shell() -> None:
    exchange = json.loads(RECIPES["freqtrade"](PLACE))["exchange"]
    assert exchange["key"] == "PCLSKEY"
    assert exchange["enable_ws"] is False, "its candles came from the real exchange, beside a paper one"
    assert (
        subprocess.run(["bash", "-n"], input=RECIPES["curl"](PLACE), text=True, check=False).returncode == 0
    )


def test_every_address_group_of_ccxt_leads_to_the_gateway() -> None:
    config = ccxt_config(PLACE)
    assert {"public", "private", "sapi", "sapiV4", "fapiPrivate", "dapiPrivateV2", "papi"} <= config["urls"][
        "api"
    ].keys()
    assert all(url.startswith(PLACE.base + "/") for url in config["urls"]["api"].values())
    ast.parse(short_ccxt(PLACE))


def test_a_recipe_without_the_secret_says_so() -> None:
    assert PLACEHOLDER in RECIPES["ccxt"](Place("http://127.0.0.1:8700", "PCLSKEY"))


def test_logs_mask_what_sounds_like_a_secret_and_a_secret_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(logging.DEBUG)
    try:
        structlog.get_logger("test").info(
            "event", api_secret="planted-1", token="planted-2", held=Secret("planted-3")
        )
        logging.getLogger("httpx").info("GET https://x/?signature=planted-4")
        logging.getLogger("httpcore.http11").debug("planted-5")
        logging.getLogger("uvicorn.access").info("planted-6")
    finally:
        structlog.reset_defaults()
    seen = capsys.readouterr()
    assert "planted" not in seen.err + seen.out
    assert MARK in seen.err
    assert seen.out == ""


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:C350 0100007F:21FC {state} 00000000:00000000 00:00000000 00000000  {uid}        0 1 1
"""


@pytest.mark.parametrize(
    ("state", "own", "unsafe"), [("01", True, True), ("01", False, False), ("06", True, False)]
)
def test_a_bot_of_our_own_user_is_seen_by_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, own: bool, unsafe: bool
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1000)
    table = tmp_path / "tcp"
    table.write_text(TABLE.format(state=state, uid=1000 if own else 1001))
    peers = Peers(lambda: 8700, (table,))
    peers.look()
    table.write_text("  sl\n")
    assert bool(peers.hazards()) is unsafe


def test_a_bot_of_our_own_user_is_told_for_an_hour_with_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood until the broker's next start, long after the bot had moved."""
    monkeypatch.setattr("os.getuid", lambda: 1000)
    table, at = tmp_path / "tcp", [0]
    table.write_text(TABLE.format(state="01", uid=1000))
    noon = datetime(2026, 11, 23, 12, 5, tzinfo=UTC)
    peers = Peers(lambda: 8700, (table,), lambda: noon, lambda: at[0])
    (hazard,) = peers.hazards()
    assert "12:05 UTC" in hazard.what
    table.write_text("  sl\n")
    at[0] = REMEMBERED_US
    assert peers.hazards() == (hazard,)
    at[0] += 1
    assert peers.hazards() == ()


def test_a_system_that_does_not_tell_is_said_plainly(tmp_path: Path) -> None:
    (hazard,) = Peers(lambda: 8700, (tmp_path / "nothing",)).hazards()
    assert "does not tell" in hazard.what


def test_instants_and_amounts_are_said_as_people_do() -> None:
    now = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
    assert when((now - timedelta(seconds=125)).isoformat(), now) == "13:57:55 UTC (2 min ago)"
    assert when((now - timedelta(days=3)).isoformat(), now) == "2026-11-20 14:00 UTC (3 days ago)"
    assert when(None) == ""
    assert (amount("60.00000000000"), amount("1234567"), amount("0.00100"), amount(None)) == (
        "60.00", "1,234,567.00", "0.001", "",
    )  # fmt: skip
    assert (micros(135), micros(None), micros(-1)) == ("0.14 ms", "-", "-")


def test_a_command_is_printed_as_it_can_be_typed(tmp_path: Path) -> None:
    own = tmp_path / "venv"
    own.mkdir()
    script = own / "portcullis"
    script.touch(mode=0o755)
    inside = {"PATH": str(own)}
    assert program(inside, str(own / "python")) == str(script)
    other = tmp_path / "bin"
    other.mkdir()
    (other / "portcullis").touch(mode=0o755)
    assert program({"PATH": f"{own}:{other}"}, str(own / "python")) == "portcullis"
