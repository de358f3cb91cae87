"""Nothing but the rooms that import contracts name calls out: also by names that no import shows."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CALLS = frozenset(
    {
        "create_connection", "open_connection", "open_unix_connection", "create_unix_connection", "sock_connect",
        "create_datagram_endpoint", "urlopen", "HTTPConnection", "HTTPSConnection", "SMTP", "SMTP_SSL", "getaddrinfo",
        "gethostbyname", "gethostbyaddr", "import_module", "__import__",
    }
)  # fmt: skip
ALLOWED = {
    "clients/lines.py": {"getaddrinfo"},
    "clients/attempts.py": {"getaddrinfo"},  # of a number
    "clients/egress.py": {"create_connection"},  # the gateway's, each with a time in all
    "clients/dialling.py": {"sock_connect", "getaddrinfo"},  # for it
    "broker/gateway/upstream.py": {"open_connection"},
    "broker/link/channel.py": {"open_connection"},  # on a socket that is there
}
LOADED = ("portcullis/cli/",)
"""Commands load our own rooms by name when they are needed."""

MODULES = frozenset({"http.client", "urllib.request", "smtplib", "ftplib", "telnetlib", "xmlrpc.client"})


HEARD = {("rotation/alerts/sender.py", "smtplib")}
"""The process that sends alerts hears what a mail server answers to Apprise; it opens nothing, and has a time in all."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of ours, parsed."""
    for package in ("broker", "clients", "rotation", "portcullis"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def called(tree: ast.Module) -> set[str]:
    """Return the names of what is called that could call out."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names |= {name} & CALLS
    return names


def test_no_other_room_connects_or_looks_names_up() -> None:
    """A connection without bounds in all would hold whoever waits for it."""
    found = {}
    for path, tree in sources():
        names = called(tree) - ALLOWED.get(path, set())
        names -= {"import_module"} if path.startswith(LOADED) else set()
        if names:
            found[path] = names
    assert found == {}


def test_no_room_uses_the_standard_librarys_clients() -> None:
    """They know limits of each read only, and follow redirects."""
    found = []
    for path, tree in sources():
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            found += [(path, name) for name in names if name in MODULES]
    assert set(found) == HEARD


def test_the_look_finds_what_it_looks_for() -> None:
    """A check that finds nothing proves nothing: planted calls are found."""
    planted = "import socket\nsocket.create_connection(('x', 1))\nurlopen('x')\n"
    assert called(ast.parse(planted)) == {"create_connection", "urlopen"}
