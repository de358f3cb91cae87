"""What every command is as typed: options and arguments that hold nothing are refused, switches take no value.

`--home "$HOME_OF_BOT"` with a variable that is not set would mean the directory one stands in, `--consumer ""` nobody,
and `--gateway-host ""` every address: who names a thing that is none is told so, before the command begins.

The help names no kind of value beside a switch: `--json <bool>` would be typed as `--json true`.
"""

from collections.abc import Sequence
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

NOTHING = "Nothing was done."
NOT_READ: type[Exception] = typer.BadParameter.__mro__[1]
"""What a line that cannot be read raises: the root of all of them has no public name."""

_STOPS = frozenset(
    {"kill", "stop", "panic", "abort", "off", "shutdown", "block", "disable", "emergency", "halt-all"}
)
"""Words for a cut, whatever else is spelled like one of them."""

_MAY_BE_EMPTY = frozenset({"note"})


class StrictCommand(TyperCommand):
    """A command that takes no empty value, and says of a line that cannot be read that it did nothing."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed."""
        typed = list(args)
        try:
            _refuse(self, ctx, args)
            return super().parse_args(ctx, args)
        except NOT_READ as fault:
            if not ctx.resilient_parsing:
                self.misread(ctx, typed, fault)
            raise

    def misread(self, ctx: Any, typed: list[str], fault: Any) -> None:
        """Say what state things are in after a line that cannot be read."""
        del ctx, typed
        _say(fault)

    def get_params(self, ctx: Any) -> Any:
        """Return what may be given."""
        return _without_kinds(super().get_params(ctx))


class StrictGroup(TyperGroup):
    """The same for what stands before the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed."""
        try:
            _refuse(self, ctx, args)
            return super().parse_args(ctx, args)
        except NOT_READ as fault:
            _say(fault)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was typed."""
        try:
            return super().resolve_command(ctx, args)
        except NOT_READ as fault:
            if args and args[0].lower() in _STOPS and "cut" in self.commands:
                from portcullis.cli.meant_cut import instead_of  # noqa: PLC0415 - it needs us

                raise typer.Exit(instead_of(ctx, args)) from None
            _say(fault)
            raise

    def get_params(self, ctx: Any) -> Any:
        """Return what may be given."""
        return _without_kinds(super().get_params(ctx))


def _say(fault: Any) -> None:
    text = str(fault.message)
    fault.message = f"{text.rstrip('.')}{'' if text.endswith('?') else '.'} {NOTHING}" if text else NOTHING


def _without_kinds(parameters: Any) -> Any:
    for one in parameters:
        if getattr(one, "is_flag", False) and one.metavar is None:
            one.metavar = ""
    return parameters


def _refuse(command: TyperCommand | TyperGroup, ctx: Any, args: Sequence[str]) -> None:
    given, _, order = command.make_parser(ctx).parse_args(list(args))
    for parameter in order:
        if parameter.name not in _MAY_BE_EMPTY and any(_is_blank(one) for one in _all(given, parameter)):
            raise typer.BadParameter(
                "it was given, but is empty (a shell variable that is not set?): name something, or leave it out.",
                ctx, cast("Any", parameter),
            )  # fmt: skip


def _all(given: dict[str, Any], parameter: Any) -> Sequence[Any]:
    found = given.get(str(parameter.name))
    return found if isinstance(found, list | tuple) else (found,)


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()
