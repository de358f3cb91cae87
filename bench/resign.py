"""The addon of mitmproxy: verifies the virtual key's signature, writes the real one. Runs in mitmproxy's own Python."""

import hashlib
import hmac
import json
import os
import sys

from mitmproxy import ctx, http

_KEYS = json.loads(os.environ["BENCH_KEYS"])
_VIRTUAL_ID, _VIRTUAL = _KEYS["virtual"][0], _KEYS["virtual"][1].encode()
_REAL_ID, _REAL = _KEYS["real"][0], _KEYS["real"][1].encode()


class Resign:
    """Swaps key and signature of form bodies."""

    def running(self) -> None:
        """Tell where we listen."""
        sys.stdout.write(
            json.dumps({"port": ctx.master.addons.get("proxyserver").listen_addrs()[0][1]}) + "\n"
        )
        sys.stdout.flush()

    def request(self, flow: http.HTTPFlow) -> None:
        """Judge one request."""
        request = flow.request
        text, _, given = (request.raw_content or b"").rpartition(b"&signature=")
        right = hmac.digest(_VIRTUAL, text, hashlib.sha256).hex().encode()
        if request.headers.get("X-MBX-APIKEY") != _VIRTUAL_ID or not hmac.compare_digest(right, given):
            flow.response = http.Response.make(400, b'{"code":-1022,"msg":"bad signature"}')
            return
        request.headers["X-MBX-APIKEY"] = _REAL_ID
        request.raw_content = text + b"&signature=" + hmac.digest(_REAL, text, hashlib.sha256).hex().encode()


addons = [Resign()]
