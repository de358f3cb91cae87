"""What is known while the database is away, in lines: since when, what is shut all the same, who is linked."""

from portcullis.cli.oversight_answers import Standing

_MOST = 20


def lines(found: Standing) -> tuple[str, ...]:
    """Return what the broker knows without the database."""
    since = (
        "" if found.away_since is None else f"the database is away since {found.away_since:%H:%M:%S} UTC. "
    )
    told = [f"{since}What this broker knows without it (another broker may have thawed or cut since):"]
    for cut in found.cuts[:_MOST]:
        word = "CUT OFF" if cut.mode == "closed" else "HALTED"
        record = "on record" if cut.on_record else "NOT on record: leave the broker running"
        told.append(f"{', '.join(cut.targets)} {word}: {cut.id}, {record}")
    if len(found.cuts) > _MOST:
        told.append(f"and {len(found.cuts) - _MOST} more cuts and halts")
    if not found.cuts:
        told.append("nothing is cut or halted here, as far as that is known")
    names = ", ".join(f"{one.name} ({one.leases} leases)" for one in found.gateways)
    told.append(f"gateways that are linked: {names}" if names else "no gateway is linked: no bot can trade")
    return tuple(told)
