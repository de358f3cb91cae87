"""By whose token a command speaks to a broker, and what is done where the broker does not take it.

Rules:
1. What takes rights away (`Face.closes`: cut, halt, revoke, ...) is asked again by the next token at hand, where one
   is refused, may not, or is not known while the database is away: a session that ended elsewhere keeps no cut from
   being made. It is said by which token it was done, and on record is whose that is.
2. Everything else is refused by the first: who named a token, or logged in, is not served as somebody else.
3. A refusal names the step of the very token that was refused; where all were, of each.
4. Over plain http to where $PORTCULLIS_ADDR points goes one token alone: any user of this host may listen where a
   tunnel was, and would be handed one after another. The home's own token goes to the home's own broker, never there.
"""

from typing import Literal

from clients.secret import Secret
from portcullis.cli import session, way
from portcullis.cli.face import Face, Stopped
from portcullis.cli.remedies import AWAY
from portcullis.cli.session import From, Held
from portcullis.settings import Home

Who = Secret | Literal["nobody"] | None
"""A token to speak with, or none at all, as who logs in; None: the session's, or the home's own."""

_UNKNOWN = "unauthenticated"
ABOUT_WHO = frozenset({_UNKNOWN, "scope_missing", "not_granted"})
"""Nos that another token may not meet."""


class Voice:
    """The token that a command speaks by, and those that are left."""

    def __init__(self, face: Face, home: Home, who: Who) -> None:
        self._face, self._home, self._odd = face, home, ""
        if who == "nobody":
            self._left: list[Held] = []
        elif who is not None:
            self._left = [Held(who, From.GIVEN)]
        elif face.closes and not way.is_plain():
            self._left, self._odd = session.all_of(home)
        else:
            self._left = [session.best_of(home)]
        self._refused: list[tuple[Held, Stopped]] = []

    @property
    def headers(self) -> dict[str, str]:
        """What a request is sent with."""
        return {"Authorization": f"Bearer {self._left[0].token.reveal()}"} if self._left else {}

    def goes_on(self, stopped: Stopped, *, is_cut: bool) -> bool:
        """Note a refusal; tell whether another token at hand is to be asked by.

        Of a cut alone a broker remembers who may make it while the database is away: it may remember another token.
        """
        if not self._left:
            return False
        if stopped.reason == _UNKNOWN:
            stopped.step = stopped.step or self._step(self._left[0].source)
        if not self._face.closes or stopped.reason not in (ABOUT_WHO | AWAY if is_cut else ABOUT_WHO):
            return False
        self._refused.append((self._left[0], stopped))
        if len(self._left) == 1:
            return False
        del self._left[0]
        return True

    def whole(self, stopped: Stopped) -> Stopped:
        """Return what to say where nothing was done: of each token that was refused, where they were differently."""
        if not self._refused or self._refused[-1][1] is not stopped:
            return stopped
        if len(self._refused) == 1 and not self._odd:
            return stopped
        if len({why.what for _, why in self._refused}) == 1 and stopped.reason in AWAY:
            return stopped
        said = "; ".join(f"{one.source.value}: {why.what.rstrip('.')}" for one, why in self._refused)
        steps = dict.fromkeys(why.step for _, why in self._refused if why.step)
        what = f"{said}." if not self._odd else f"{self._odd} {said}."
        return Stopped(
            f"No token at hand was taken. {what}", stopped.state, "\n".join(steps), reason=stopped.reason,
            errors=stopped.errors,
        )  # fmt: skip

    def done(self) -> None:
        """Say by which token something was done, where it was not by the first."""
        by = self._left[0].source.value if self._left else ""
        if self._odd:
            self._tell(f"{self._odd.rstrip('.')}; {by} spoke, and on record is whose it is")
        for one, why in self._refused:
            self._tell(
                f"{one.source.value} was not taken ({why.what.rstrip('.')}): {by} was, and on record is whose it is"
            )
        self._refused.clear()
        self._odd = ""

    def _tell(self, text: str) -> None:
        self._face.step(self._face.err, "[yellow]![/]", text, 0)

    def _step(self, source: From) -> str:
        """Return what mends a token that counts no more."""
        if source is From.SESSION:
            login, logout = self._face.command("login --name NAME"), self._face.command("logout")
            return f"Your session is over. Log in again: {login}\nOr leave it, for the home's own token: {logout}"
        if source is From.HOME:
            recover = self._face.command("operator recover --name NAME")
            own = self._home.operator_token
            return f"{own} counts no more: put its operator's new token there, or make one on this host: {recover}"
        if source is From.VARIABLE:
            name = session.TOKEN_VARIABLE
            return f"Put a token that counts into {name}, or take it away (unset {name})."
        if source is From.FILE_VARIABLE:
            name = session.TOKEN_FILE_VARIABLE
            return f"Name the file of a token that counts in {name}, or take it away (unset {name})."
        return "The token in that file counts no more: have a new one made for you."
