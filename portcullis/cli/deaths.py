"""How it is shown what says that a key is dead. Pure."""

from portcullis.cli.access_answers import Key

NOT_PROVEN = {
    "stated": "a person's word, not proven",
    "confirmed": "a person's word, twice, not proven",
    "unproven": "ended, not proven dead",
}
"""What is known of the end of a key of which nothing proves that it is dead, by `broker.model.Death`."""


def stage(row: Key) -> str:
    """Say where a key version is in its life; of one that is asked with no more, what says that it is dead."""
    if row.death == "proven":
        return f"{row.stage} (dead)"
    return f"{row.stage} ({NOT_PROVEN[row.death]})" if row.death in NOT_PROVEN else row.stage
