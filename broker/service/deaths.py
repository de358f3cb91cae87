"""What is said of keys that are used no more, and of those that left: what is proven, and what a person said. Pure.

Whoever says of a key that it is dead says it in these words: they go by `KeyVersion.death`, and by nothing else.
"""

from broker.db.checkouts import Checkout
from broker.model import Death, KeyRef

_SAYS = {
    Death.PROVEN: "is proven dead",
    Death.STATED: "is deleted by a person's word: stated, not proven",
    Death.CONFIRMED: "is deleted by a person's word, who looked it up twice: stated, not proven",
    Death.UNPROVEN: "was ended on record, and nothing proves that it is dead",
    Death.UNSAID: "is not proven dead",
}
_ASKS_A_PERSON = {
    Death.STATED: "Look once more whether the exchange has it; delete it if so. Then confirm",
    Death.UNPROVEN: "Look whether the exchange has it; delete it if so. Then confirm",
}
"""Of which keys a person has to say more, and what they do before: nothing is asked with these any more."""


def says(death: Death) -> str:
    """Say what is known of the death of a key that is used no more."""
    return _SAYS[death]


def confirm(ref: KeyRef) -> str:
    """Return the command by which a person says once more that they looked a key up, and it is deleted."""
    return f"portcullis reconcile --deleted {ref}"


def retire(ref: KeyRef) -> str:
    """Return the command that ends a key that was replaced: it is deleted, or a person is told how, and proven dead."""
    return f"portcullis sweep retire {ref}"


def of_one_that_left(one: Checkout) -> str:
    """Say why a key that left is to be seen to."""
    if one.death is None:
        return (
            f"key {one.ref} left with {one.holder}, and the record knows no such key any more: nothing says that it "
            "is dead. Delete it at the exchange"
        )
    asked = f". {_ASKS_A_PERSON[one.death]}" if one.death in _ASKS_A_PERSON else ""
    return f"key {one.ref} left with {one.holder}, and {says(one.death)}{asked}"


def step(one: Checkout, otherwise: str) -> str:
    """Return the command by which one that left is seen to: a person's word where nobody else can tell."""
    return confirm(one.ref) if one.death in _ASKS_A_PERSON else otherwise
