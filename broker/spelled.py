"""Commands as they are printed for people to paste: what others named in them stays one word, whatever it holds. Pure.

Who writes a cut into the secret store names it, and what it holds, as they like: with a dash at its front a name would
be an option, with a blank two words, with a `;` a command of its own.
"""

import re
import shlex

_TAKEN_APART = re.compile(r", then |portcullis |RB-\d\d|[`\n]")
"""What a screen reads in a step: it would break the word, or put something in its place."""
_PLAIN = re.compile(rb"[A-Za-z0-9_]")


def shown(text: str) -> str:
    """Return text of others as it may be shown: controls, line ends and what turns or hides writing are spelled out."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode()
        for one in text
    )


def word(text: str) -> str:
    """Return a text as one word of a shell; what a terminal does not show as it is, by its bytes."""
    if text.isprintable() and _TAKEN_APART.search(text) is None:
        return shlex.quote(text)
    told = text.encode(errors="surrogateescape")
    return "$'" + "".join(chr(one) if _PLAIN.match(bytes([one])) else f"\\x{one:02x}" for one in told) + "'"


def option(name: str, value: str) -> str:
    """Return an option with its value: one with a dash at its front is its value all the same."""
    return f"{name}={word(value)}" if value.startswith("-") else f"{name} {word(value)}"


def thaw(cut: str, reason: str = "WHY") -> str:
    """Return what thaws a cut, without the program's name; `reason` as a shell takes it."""
    if cut.startswith("-"):
        return f"thaw --reason {reason} -- {word(cut)}"
    return f"thaw {word(cut)} --reason {reason}"
