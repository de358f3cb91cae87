"""As many entries in a message as there is room for. Pure, and imports nothing: the sender's process uses it too.

Sizes are bytes of UTF-8. No service counts more than that, whatever it counts in.
"""

from collections.abc import Sequence

LIST = "portcullis alerts list"
SHORTENED = f"... (shortened: {LIST})"


def packed(entries: Sequence[tuple[str, str]], room: int, most: int, *, last: bool) -> tuple[str, int]:
    """Write one message.

    Args:
        entries: What is to be told, each as what it says and the next step; the first is in the message in any case.
        room: Bytes.
        most: So many entries, not more.
        last: No other message comes after it: what is not in it is counted at its end.

    Returns:
        The text, and how many entries are in it.
    """
    if last and len(entries) > 1:
        room -= _size(_more(len(entries))) + 1
    lines, used = [_fitted(*entries[0], room)], 0
    used = _size(lines[0])
    for says, step in entries[1:most]:
        line = _joined(says, step)
        used += _size(line) + 1
        if used > room:
            break
        lines.append(line)
    count = len(lines)
    if last and count < len(entries):
        lines.append(_more(len(entries) - count))
    return "\n".join(lines), count


def _more(count: int) -> str:
    return f"- and {count} more: {LIST}"


def _joined(says: str, step: str) -> str:
    return f"{says}\n{step}" if step else says


def _fitted(says: str, step: str, room: int) -> str:
    """Return an entry; one that is too long for a message of its own is shortened."""
    if _size(_joined(says, step)) <= room:
        return _joined(says, step)
    step = cut(step, room // 2)
    return _joined(cut(says, room - _size(step) - 1), step)


def _size(text: str) -> int:
    return len(text.encode())


def cut(text: str, most: int) -> str:
    """Return text that has so many bytes; where something is left out, it says so."""
    if _size(text) <= most:
        return text
    return text.encode()[: max(0, most - _size(SHORTENED))].decode(errors="ignore") + SHORTENED
