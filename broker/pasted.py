"""Whether a text that a person gave holds what looks like a secret: such texts are kept for ever. Pure.

Rules:
1. Ours by their form: virtual keys, tokens, recovery codes, seeds of one-time codes. Others' by theirs: private keys,
   tokens of a Vault, passwords in addresses, UUIDs; else by looking random: letters and digits that change places as
   no word does.
2. What people write passes: words, names, our ids, amounts, times, commits, digests that say so, addresses of pages
   and of wallets.
3. In doubt it is a secret: another word for it is soon found, and what is on record cannot be taken back. So is a
   text that is longer than `LONGEST`, or of a hundred rows of nine words alike: nobody writes it.
"""

import re
from itertools import islice, pairwise

from broker.backup.form import drawn

REMOVED = "(removed: it held what looks like a key)"
"""What is kept in the place of a reason whose cut must not wait."""

_SHAPED = re.compile(
    r"PCLS[0-9A-Za-z]{28}"
    r"|pcls_(?:op|se)_[0-9A-Za-z_-]{8}"
    r"|-----BEGIN"
    r"|otpauth://"
    r"|\bhv[sbr]\.[0-9A-Za-z_-]{20}"
    r"|\b\d{8,10}:[0-9A-Za-z_-]{35}"
    r"|\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b"
    r"|(?<![0-9A-Za-z-])(?:[A-Za-z2-7]{4}-){8}[A-Za-z2-7]{4}(?![0-9A-Za-z-])"
)
_CODE = re.compile(r"\b(?=((?:[A-Za-z2-7]{4}[ \t\n]{1,3}){8}[A-Za-z2-7]{4}\b|[A-Za-z2-7]{36}\b))")
"""One that was copied without its dashes; its checksum tells it from words."""

_ADDRESS = re.compile(
    r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{1,40}://(?P<login>[^\s/?#@]*@)?(?P<rest>\S*)", re.IGNORECASE
)
_HIDDEN = re.compile(r"[?&](?:[a-z_-]*(?:key|token|secret|signature|password))=[^&\s]{8}", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:sha256:[0-9a-f]{64}|0x[0-9A-Fa-f]{40}|0x[0-9A-Fa-f]{64}|[0-9a-f]{40}|bc1[02-9ac-hj-np-z]{11,71}"
    r"|T[1-9A-HJ-NP-Za-km-z]{33})\b"
)
"""Digests, commits, and where coins go."""

_RUN = re.compile(r"[0-9A-Za-z]{16,}")
_SEED = re.compile(r"[A-Z2-7]{32}")
_BASE64 = re.compile(r"[0-9A-Za-z+/]{40,}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_LONG, _LONG_CHANGES, _LETTERS_CHANGE = 32, 0.2, 0.4
_SHORT_CHANGES = 0.35
_LONGEST_IN_PAGES = 47
_MOST_CODES = 100
LONGEST = 12 * 1024
"""Characters; the worst text of so many costs a few milliseconds."""

_MARKS = re.compile(r"[+/]")


def looks_secret(text: str) -> bool:
    """Tell whether a text holds what looks like a secret."""
    if len(text) > LONGEST or _SHAPED.search(text):
        return True
    codes = [found[1] for found in islice(_CODE.finditer(text), _MOST_CODES)]
    if len(codes) == _MOST_CODES or any(drawn(code) is not None for code in codes):
        return True
    if any(_is_secret_address(found) for found in _ADDRESS.finditer(text)):
        return True
    bare = _KNOWN.sub(" ", _ADDRESS.sub(" ", text))
    joined = (_MARKS.sub("", run)[:_LONG] for run in _BASE64.findall(bare))
    return any(_is_drawn(run) for run in joined) or any(_is_random(run) for run in _RUN.findall(bare))


def _is_secret_address(found: re.Match[str]) -> bool:
    """Pages have random names, too: only what is longer than theirs is a secret, and what is called one."""
    rest = found["rest"]
    if ":" in (found["login"] or "") or _HIDDEN.search(rest):
        return True
    host = rest.partition("/")[0]
    return any(
        len(run) > _LONGEST_IN_PAGES or not (_HEX.fullmatch(run) or host.endswith("google.com"))
        for run in _RUN.findall(_KNOWN.sub(" ", rest))
        if _is_random(run)
    )


def _is_random(run: str) -> bool:
    """Tell whether letters and digits look drawn: of a word, or of words in one, kinds change seldom."""
    if len(run) < _LONG:
        return _is_drawn(run)
    kinds = {_kind(one) for one in run}
    if "digit" not in kinds:
        return _SEED.fullmatch(run) is not None or (len(kinds) > 1 and _changes(run) >= _LETTERS_CHANGE)
    most = _HEX.fullmatch(run) is not None or _SEED.fullmatch(run) is not None
    return len(kinds) > 1 and (most or _changes(run) >= _LONG_CHANGES)


def _is_drawn(run: str) -> bool:
    return len({_kind(one) for one in run}) == len(_KINDS) and _changes(run) >= _SHORT_CHANGES


def _changes(run: str) -> float:
    """Return how often the kind of a character is another one than before it, of 1."""
    return sum(_kind(one) != _kind(other) for one, other in pairwise(run)) / (len(run) - 1)


_KINDS = ("digit", "upper", "lower")


def _kind(one: str) -> str:
    return "digit" if one.isdigit() else "upper" if one.isupper() else "lower"
