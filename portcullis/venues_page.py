"""`python -m portcullis.venues_page > docs/venues.md`: what Portcullis knows of each venue, out of the code."""

import sys
from collections import defaultdict

from broker.policy_document import GROUPS
from clients.venue import Action
from clients.venues.binance.endpoints import ENDPOINTS, Endpoint
from rotation.plan import BY_HAND, CAPABLE

NEVER = frozenset({Action.WITHDRAW, Action.TRANSFER, Action.KEY_ADMIN})
_HEAD = """# Venues

Generated from the code by `python -m portcullis.venues_page > docs/venues.md`; a test holds it to that.

| | Binance spot and `/sapi` |
|---|---|
| virtual keys | HMAC; the bot's own Ed25519 or RSA public key |
| real keys | HMAC, RSA, Ed25519 |
| trading through the gateway | spot REST |
| streams, WebSocket trading, futures | not yet: refused by name |
| withdrawals, transfers, key administration | recognised so that they are refused by name; they cannot be granted |
| keys of sub-accounts by API | yes, under a manager key |
| keys of a main account by API | no: by hand at the exchange |

A policy's `allow` names groups or single endpoints. What is not in a group that can be granted can never be
granted. `uncertain` writes are recognised and refused: what they would do cannot be sized. The weights of `sapi.*`
endpoints are those of ccxt's table; we have no page of the exchange that confirms them.
"""


def _can_be_granted(row: Endpoint) -> str:
    if row.action in NEVER:
        return "never"
    if row.action is Action.STREAM:
        return "not yet"
    if row.grammars is None and row.action is not Action.READ:
        return "no: uncertain"
    return "yes" if row.group in GROUPS else "by name"


def _keys() -> str:
    """Return the table of what can be done with keys, as the rotator has it."""
    under, alone = CAPABLE["binance"], BY_HAND["binance"]
    rows = [
        "## Keys",
        "",
        "| | sub-account under a manager key | main account, or no manager key |",
        "|---|---|---|",
    ]
    words = {
        "create": "made by", "delete": "deleted by", "list": "listed", "label": "carries our label",
        "public_key": "of a pair that we make", "addresses": "bound to addresses at its making",
        "window_s": "a signed request takes effect within", "settling_s": "lists lag by, as we assume",
        "calls_per_minute": "calls of each kind a minute", "most_keys": "keys beside one another",
        "unbound_lasts_days": "without addresses it loses rights after",
    }  # fmt: skip
    for name, word in words.items():
        cells = [_cell(name, getattr(one, name)) for one in (under, alone)]
        rows.append(f"| {word} | {cells[0]} | {cells[1]} |")
    return "\n".join([*rows, ""])


def _cell(name: str, value: object) -> str:
    if name in {"create", "delete"}:
        return "the machine" if value else "a person, step by step"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == 0:
        return "-"
    unit = {"window_s": " s", "settling_s": " s", "unbound_lasts_days": " days"}.get(name, "")
    return f"{value:g}{unit}" if isinstance(value, (int, float)) else str(value)


def page() -> str:
    """Return the page."""
    groups: dict[str, list[Endpoint]] = defaultdict(list)
    for row in dict(ENDPOINTS).values():
        groups[row.group].append(row)
    parts = [_HEAD, _keys()]
    for group in (*GROUPS, *sorted(set(groups) - set(GROUPS))):
        rows = sorted(groups.get(group, []), key=lambda row: (row.name, row.method))
        if rows:
            parts.append(
                f"\n## `{group}`\n\n| endpoint | request | action | weight | can be granted |\n|---|---|---|---|---|"
            )
            parts += [
                f"| `{row.name}` | {row.method} `{row.path}` | {row.action.value} | {row.weight} "
                f"| {_can_be_granted(row)} |"
                for row in rows
            ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
