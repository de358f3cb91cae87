"""Points the venue's documents leave open: each has a default and the other readings, to be tried by tests.

Rules:
1. A switch only changes what the fact sheet marks as unconfirmed; what is documented has no switch.
2. A value that is none of the readings is refused with the readings named.
"""

from dataclasses import dataclass

LONGEST_DELAY_MS = 600_000


@dataclass(frozen=True, slots=True)
class Switch:
    """One open point. `readings` empty means a whole number of milliseconds or a negative code."""

    default: object
    readings: tuple[object, ...]
    about: str


SWITCHES: dict[str, Switch] = {
    "ip_restriction_post_adds": Switch(
        True, (True, False), "the IP list call adds to the list, or replaces it"
    ),
    "deleted_key_api_code": Switch(
        -2015, (-2015, -2008), "what an unknown or deleted key gets on /api and /fapi"
    ),
    "deleted_key_sapi_code": Switch(-2008, (-2008, -2015), "what an unknown or deleted key gets on /sapi"),
    "deletion_delay_api_ms": Switch(0, (), "how long a deleted key still works on /api"),
    "deletion_delay_sapi_ms": Switch(0, (), "how long a deleted key still works on /sapi"),
    "key_format_sapi_status": Switch(401, (401, 400), "HTTP status of -2014 on /sapi"),
    "refused_key_sapi_status": Switch(401, (401, 400), "HTTP status of -2015 on /sapi"),
    "permission_before_signature": Switch(False, (False, True), "whether permission is looked at first"),
    "raw_reserved_accepted": Switch(True, (True, False), "reserved ASCII such as @ may stand unencoded"),
    "modify_keeps_omitted": Switch(True, (True, False), "permission changes keep flags that were not sent"),
    "open_trade_key": Switch(
        "accept",
        ("accept", "refuse", "lapse"),
        "HMAC keys that trade from any address: made, refused, or 30 days",
    ),
    "listing_delay_ms": Switch(0, (), "how far the key list lags behind what was created and deleted"),
    "list_masks_keys": Switch(False, (False, True), "the key list shows key ids in part"),
    "list_array": Switch("rows", ("rows", "list"), "name of the array of the key list"),
    "most_keys_code": Switch(-9000, (-9000, -1099, -1000), "code of the refusal of a 31st key"),
    "repeated_delete": Switch("error", ("error", "empty"), "deleting a deleted key: an error or {}"),
    "public_secret": Switch(
        "empty", ("empty", "null", "absent"), "secretKey where the caller gave a public key"
    ),
    "bare_public_key": Switch(True, (True, False), "publicKey may be base64 without the PEM lines"),
    "orders_survive_deletion": Switch(True, (True, False), "orders stay open when their key is deleted"),
    "both_order_names": Switch(
        "match",
        ("match", "order-id"),
        "an order named twice: both names must be its own, or its id counts alone",
    ),
    "sapi_unknown_refused": Switch(
        True, (True, False), "/sapi refuses parameters it does not know, or passes over them"
    ),
    "sapi_window_decimals": Switch(
        False, (False, True), "recvWindow may have decimals on /sapi, where it is documented as whole"
    ),
    "listen_key": Switch("gone", ("gone", "served"), "the old listenKey calls of spot"),
}


def defaults() -> dict[str, object]:
    """Return every switch at its default."""
    return {name: switch.default for name, switch in SWITCHES.items()}


def checked(name: str, value: object) -> object:
    """Return a value if it is one of the readings.

    Raises:
        ValueError: It is none, or there is no such switch.
    """
    switch = SWITCHES.get(name)
    if switch is None:
        raise ValueError(f"is no switch; known are {', '.join(SWITCHES)}")
    if not switch.readings:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LONGEST_DELAY_MS:
            raise ValueError(f"is a whole number of milliseconds, at most {LONGEST_DELAY_MS}")
        return value
    for reading in switch.readings:
        if type(reading) is type(value) and reading == value:
            return value
    raise ValueError(f"is one of {', '.join(str(reading) for reading in switch.readings)}")
