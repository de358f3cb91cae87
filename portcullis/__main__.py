"""`portcullis`, the command."""


def main() -> None:
    """Run one command line."""
    from portcullis.cli.app import app  # noqa: PLC0415 - `-m portcullis.gateway` must not import the CLI
    from portcullis.cli.streams import quietly  # noqa: PLC0415 - as above

    quietly(app)


if __name__ == "__main__":
    main()
