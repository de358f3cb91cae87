"""The embedded secret store: sealed rows in a file of its own."""
