"""`portcullis`, the command."""

import os

_INTERRUPTED = 130
"""As shells have it."""


def main() -> None:
    """Run one command line."""
    if not os.environ.get("HOME", "").strip():
        os.environ.pop("HOME", None)  # empty it would be the root directory; unset it is as the system has it
    try:
        from portcullis.cli.app import app  # noqa: PLC0415 - `-m portcullis.gateway` must not import the CLI
        from portcullis.cli.streams import quietly  # noqa: PLC0415 - as above

        quietly(app)
    except KeyboardInterrupt:  # in the seconds that importing takes nothing was begun yet
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    main()
