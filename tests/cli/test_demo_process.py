"""The demo as bot authors and operators meet it: real processes, from the first start to kill -9."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.started import (
    Demo,
    cli,
    cli_json,
    cut_off,
    is_gone,
    kill,
    running_demo,
    start_demo,
    wait_until,
)
from tests.rotation.place import STRANGER

pytestmark = pytest.mark.process

FIELDS = [
    "home", "pid", "api", "operator_token", "gateway", "paper", "paper_admin_token", "account", "consumer",
    "grant", "key_id", "secret", "ccxt",
]  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("demo")
    with running_demo(directory / "home", directory / "errors") as started:
        yield started


def test_the_one_line_has_the_promised_fields_and_no_others(demo: Demo) -> None:
    assert list(demo.said) == FIELDS
    assert demo.said["pid"] == demo.process.pid
    assert demo.said["ccxt"]["apiKey"] == demo.said["key_id"]
    assert demo.said["ccxt"]["secret"] == demo.said["secret"]
    mount = demo.said["gateway"] + "/binance/"
    assert all(url.startswith(mount) for url in demo.said["ccxt"]["urls"]["api"].values())


def test_a_bot_trades_is_cut_off_by_one_command_and_thawed_by_another(demo: Demo) -> None:
    assert demo.order().status == 200
    cut = cut_off(demo)
    executed = len(demo.paper("GET", "executed")["executed"])
    refused = demo.order()
    assert (refused.status, refused.reason) == (401, "cut")
    assert len(demo.paper("GET", "executed")["executed"]) == executed
    thawed = cli_json(demo.home, "thaw", cut, "--reason", "a test")
    assert thawed["still_closed"] == []
    assert demo.order().status == 200


def test_a_halt_lets_exits_pass_and_nothing_new(demo: Demo) -> None:
    halt = cli_json(demo.home, "halt", "--everything", "--reason", "a test")
    assert demo.order().status != 200
    assert demo.order("SELL").status == 200
    cli_json(demo.home, "thaw", "--everything", "--reason", "a test")
    assert cli_json(demo.home, "cuts")["items"] == []
    assert halt["mode"] == "halt"


def test_what_was_asked_stands_in_the_call_log(demo: Demo) -> None:
    demo.order(quantity="1")
    refused = {"decision": "deny", "reason": "order_notional", "consumer": demo.said["consumer"]}

    def written() -> bool:
        rows = cli_json(demo.home, "calls", "--decision", "deny")["items"]
        return any(refused.items() <= row.items() for row in rows)

    wait_until(written, "the refusal stands in the call log")
    assert "outside the gateway" in cli(demo.home, "calls").stdout


def test_a_key_that_can_withdraw_or_has_no_address_is_refused_unless_told_loudly(demo: Demo) -> None:
    demo.plays = (STRANGER,)
    cli_json(demo.home, "account", "create", "--name", "second")
    demo.paper("POST", "accounts", {"email": "second@paper.test", "balances": {"USDT": "5"}})

    def key(**more: object) -> dict[str, str]:
        body = {
            "account": "second@paper.test",
            "flags": {"reading": True, "spot": True},
            "ips": ["127.0.0.1"],
        }
        made: dict[str, str] = demo.paper("POST", "keys", body | more)
        return made

    def imported(made: dict[str, str], *flags: str, code: int) -> dict[str, object]:
        arguments = ("key", "import", "--account", "second", "--key-id", made["key_id"], *flags)
        answer: dict[str, object] = cli_json(demo.home, *arguments, stdin=made["secret"], code=code)
        return answer

    withdraws = key(flags={"reading": True, "spot": True, "withdraw": True})
    anywhere = key(ips=[])
    wrong = key() | {"secret": "x" * 64}
    for made, reason in ((withdraws, "can_withdraw"), (anywhere, "any_address"), (wrong, "venue_")):
        error = imported(made, code=1)["error"]
        assert isinstance(error, dict)
        assert str(error["reason"]).startswith(reason)
        assert made["secret"] not in json.dumps(error)
    assert cli_json(demo.home, "key", "list", "--account", "second")["items"] == []
    assert imported(anywhere, "--allow-any-address", code=0)["ref"] == "second/trade/1"
    unsafe = cli_json(demo.home, "status")["unsafe"]
    assert any("second/trade/1" in one["what"] for one in unsafe)


def test_a_second_run_on_the_same_home_is_refused_in_plain_words(demo: Demo) -> None:
    refused = cli(demo.home, "run")
    assert refused.returncode == 1
    assert f"process {demo.process.pid} runs on" in refused.stderr


def test_a_port_that_is_taken_is_said_in_plain_words(demo: Demo, tmp_path: Path) -> None:
    taken = demo.said["gateway"].rsplit(":", 1)[1]
    refused = cli(tmp_path / "home", "demo", "--port", taken)
    assert refused.returncode == 1
    assert f"port {taken} cannot be had" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_no_secret_is_in_a_process_list_or_a_log(demo: Demo) -> None:
    demo.order()
    state = json.loads((demo.home / "paper" / "state.json").read_text())
    planted = [key["secret"] for key in state["keys"] if key["secret"]]
    planted += [demo.said["secret"], demo.said["operator_token"], demo.said["paper_admin_token"]]
    planted.append((demo.home / "kek").read_text().strip())
    seen = demo.errors.read_text()
    for pid in (demo.process.pid, *demo.children()):
        seen += Path(f"/proc/{pid}/cmdline").read_text()
    for secret in planted:
        assert secret not in seen


def test_files_of_the_home_are_for_its_owner_only(demo: Demo) -> None:
    for path in (demo.home, *demo.home.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_dead_gateway_is_back_on_its_port_and_trading_goes_on(demo: Demo) -> None:
    old = demo.running()
    kill(old["gateway_pid"])
    wait_until(lambda: demo.running()["gateway_pid"] not in {0, old["gateway_pid"]}, "a new gateway")
    assert demo.running()["gateway_port"] == old["gateway_port"]
    assert demo.order().status == 200


def test_a_term_ends_everything_with_code_0_and_the_next_start_finds_it_again(tmp_path: Path) -> None:
    home, errors = tmp_path / "home", tmp_path / "errors"
    with running_demo(home, errors) as first:
        first.order()
        before = first.paper("GET", "accounts")
        children = first.children()
        assert first.stop() == 0
        assert all(is_gone(pid) for pid in children)
        assert not (home / "run.json").exists()
    with running_demo(home, errors) as second:
        for field in ("key_id", "secret", "grant", "operator_token", "paper_admin_token"):
            assert second.said[field] == first.said[field]
        assert second.paper("GET", "accounts") == before
        assert second.order().status == 200
        assert second.stop() == 0


def test_a_broker_that_cannot_write_down_where_it_listens_serves_all_the_same(tmp_path: Path) -> None:
    """A full disk is no reason to keep bots from leaving: it started, and ended because of this file."""
    home, errors = tmp_path / "home", tmp_path / "errors"
    with running_demo(home, errors) as first:
        assert first.stop() == 0
    for name in ("run.json.new", "paper/state.new"):
        (home / name).mkdir()
    with running_demo(home, errors) as second:
        assert second.order().status == 200
        assert second.order("SELL").status == 200
        wait_until(lambda: "could not be saved" in errors.read_text(), "a state that cannot be saved")
        assert second.order("SELL").status == 200
        assert second.stop() == 0


def test_a_cut_survives_kill_9_and_children_do_not(tmp_path: Path) -> None:
    home, errors = tmp_path / "home", tmp_path / "errors"
    first = start_demo(home, errors)
    try:
        assert first.order().status == 200
        cut = cli_json(home, "cut", "--consumer", first.said["consumer"], "--reason", "a test")
        children = first.children()
    finally:
        kill(first.process.pid)
        first.process.wait()
        if first.process.stdout is not None:
            first.process.stdout.close()
    wait_until(lambda: all(is_gone(pid) for pid in children), "the children end with their parent")
    with running_demo(home, errors) as second:
        refused = second.order()
        assert (refused.status, refused.reason) == (401, "cut")
        assert [one["id"] for one in cli_json(home, "cuts")["items"]] == [cut["id"]]


def test_a_restored_demo_says_what_it_lacks_and_starts_once_it_has_that(tmp_path: Path) -> None:
    """Its account named the port of the old home's exchange: it ended with `not_connected`."""
    first, home, code, file = (tmp_path / name for name in ("first", "home", "code.txt", "file"))
    with running_demo(first, tmp_path / "errors") as demo:
        cli_json(first, "backup", "code", "--to", str(code))
        cli_json(first, "backup", "create", "--to", str(file))
        cli_json(
            home, "restore", str(file), "--code-file", str(code), "--api-port", "0", "--gateway-port", "0"
        )
        told = cli(home, "demo", "--json", "--port", "0")
        assert told.returncode == 1
        assert "in the place of" in told.stdout
        assert "not_connected" not in told.stdout
        key_id = demo.said["key_id"]
    shutil.rmtree(home / "paper")
    shutil.copytree(first / "paper", home / "paper")
    with running_demo(home, tmp_path / "errors") as again:
        assert again.said["key_id"] == key_id
        assert again.order().reason == "cut", "it is closed until somebody compared"
