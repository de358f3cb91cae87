"""Frames as JSON: `[name, {field: value}]`. Pure; strict on the way in.

Rules:
1. Decimal and Secret travel as text, tuples as arrays; fields that hold their default are left out.
2. Unknown frames and fields, missing fields, other types are refused by the field's name, never its value.
"""

import types
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from broker.link import frames
from broker.link.frames import Frame
from clients.secret import Secret

_FRAMES: dict[str, type] = {kind.__name__: kind for kind in get_args(frames.Frame)}


class BadFrame(ValueError):
    """Bytes that are no frame of this version.

    `name` is what they call themselves, empty where even that is lost; `ask` the number of what they answer, or 0;
    `version` what a greeting says of itself, 0 where it says none.
    """

    def __init__(self, message: str, name: str = "", ask: int = 0, version: int = 0) -> None:
        super().__init__(message)
        self.name, self.ask, self.version = name, ask, version


def encode(frame: Frame) -> bytes:
    """Write a frame as one line of JSON without line break."""
    return msgspec.json.encode([type(frame).__name__, _plain(frame)])


def decode(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        BadFrame: It is none.
    """
    try:
        name, values = msgspec.json.decode(data)
    except (ValueError, TypeError, msgspec.DecodeError):
        raise BadFrame("is not a frame") from None
    kind = _FRAMES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadFrame("is a frame of no known name")
    ask, version = _number(values, "ask"), _number(values, "version")
    try:
        frame: Frame = _build(kind, values, name)
    except BadFrame as fault:
        raise BadFrame(str(fault), name, ask, version) from None
    except (ValueError, TypeError):  # a number out of range, or the like: its text could show a value
        raise BadFrame(f"{name} cannot be built", name, ask, version) from None
    return frame


def _number(values: Any, name: str) -> int:
    found = values.get(name, 0) if isinstance(values, dict) else 0
    return found if type(found) is int else 0


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # most of all: lines of the call log
        return value
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if is_dataclass(value):
        held = ((spec, getattr(value, spec.name)) for spec in fields(value))
        return {
            spec.name: _plain(entry)
            for spec, entry in held
            if spec.default is MISSING or entry != spec.default
        }
    return value


@cache
def _shape(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    return tuple((spec.name, hints[spec.name], spec.default is MISSING) for spec in fields(kind))


def _build(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise BadFrame(f"{where} is not an object")
    shape = _shape(kind)
    known = {name for name, _, _ in shape}
    for name in values:
        if name not in known:
            raise BadFrame(f"{where} has an unknown field")
    built = {}
    for name, hint, required in shape:
        if name in values:
            built[name] = _read(hint, values[name], f"{where}.{name}")
        elif required:
            raise BadFrame(f"{where}.{name} is missing")
    return kind(**built)


def _read(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is tuple:
        return _read_tuple(get_args(hint), value, where)
    if hint is Secret and isinstance(value, str):
        return Secret(value)
    if hint is Decimal and isinstance(value, str):
        try:
            return Decimal(value)
        except InvalidOperation:
            raise BadFrame(f"{where} is not a number") from None
    if isinstance(hint, type) and is_dataclass(hint):
        return _build(hint, value, where)
    if hint in {str, int, bool} and type(value) is hint:
        return value
    raise BadFrame(f"{where} has another type")


def _read_tuple(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise BadFrame(f"{where} is not an array")
    if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
        if args[0] is str and {type(entry) for entry in value} <= {str}:
            return tuple(value)  # most of all: lines of the call log, a hundred a frame
        return tuple(_read(args[0], entry, where) for entry in value)
    if len(args) != len(value):
        raise BadFrame(f"{where} has another length")
    return tuple(_read(arg, entry, where) for arg, entry in zip(args, value, strict=True))
