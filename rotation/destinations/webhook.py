"""Keys to a service by HTTP: signed, with a timestamp, and acknowledged by the service itself.

    POST {"rotation", "key": "main/trade/3", "venue", "key_id", "key_type", "secret"}
    Portcullis-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">
    Portcullis-Delivery: <rotation>/<key>       the same at every repetition

The answer `200 {"in_use": "<key>"}` confirms; any other 2xx means that it was taken and is not in use yet, and it is
asked again with the same message without the secret (`"secret": null`). Redirects are refused: they would carry the key
elsewhere. Nothing of a message is logged.
"""

import hashlib
import hmac
import json
import ssl
from collections.abc import Callable, Iterator

from broker.destination import WebhookSettings
from clients.outbound import LOOPBACK, NotReachable, Reach
from clients.outbound_http import Answer, NotAnswered, OutboundClient
from clients.secret import Secret
from rotation.destinations.parcel import PATIENCE_S, NotDelivered, Parcel


class WebhookPlace:
    """A service that takes keys. `now_s` is the time in seconds to sign with."""

    def __init__(
        self, settings: WebhookSettings, secret: Secret, now_s: Callable[[], int], reach: Reach = LOOPBACK
    ) -> None:
        self._settings, self._secret, self._now_s, self._reach = settings, secret, now_s, reach

    def deliver(self, parcel: Parcel) -> None:
        """Send the key."""
        self._send(parcel, parcel.secret.reveal())

    def confirm(self, parcel: Parcel) -> str:
        """Ask whether it is in use."""
        answer = self._send(parcel, None)
        try:
            document = json.loads(answer.content)
        except (ValueError, RecursionError):
            document = None
        used = document.get("in_use") if isinstance(document, dict) else None
        return "" if used == str(parcel.ref) else "the service took it and does not use it yet"

    def _send(self, parcel: Parcel, secret: str | None) -> Answer:
        body = json.dumps(
            {
                "rotation": parcel.rotation, "key": str(parcel.ref), "venue": parcel.venue,
                "key_id": parcel.key_id, "key_type": parcel.key_type.value, "secret": secret,
            }
        ).encode()  # fmt: skip
        at = self._now_s()
        signature = hmac.new(
            self._secret.reveal().encode(), f"{at}.".encode() + body, hashlib.sha256
        ).hexdigest()
        headers = {
            "Content-Type": "application/json", "Content-Length": str(len(body)),
            "Portcullis-Signature": f"t={at},v1={signature}", "Portcullis-Delivery": f"{parcel.rotation}/{parcel.ref}",
        }  # fmt: skip
        try:
            verify = ssl.create_default_context(cafile=self._settings.ca_file or None)
        except OSError as fault:  # ssl.SSLError is one
            raise NotDelivered(f"its ca_file cannot be used ({type(fault).__name__})") from None
        try:
            with OutboundClient(self._reach, PATIENCE_S / 2, verify) as client:
                content = body if secret is None else _after(parcel.look, body)
                answer = client.send("POST", self._settings.url, content=content, headers=headers)
        except NotReachable as fault:
            raise NotDelivered(f"nothing is sent there: its URL {fault}") from None
        except NotAnswered as fault:
            raise NotDelivered(f"the service does not answer ({fault})") from None
        if not answer.is_success:
            raise NotDelivered(f"the service answered {answer.status_code}")
        return answer


def _after(look: Callable[[], object], body: bytes) -> Iterator[bytes]:
    """Give a body away once the connection is there, and after a look: to connect may have taken long."""
    look()
    yield body
