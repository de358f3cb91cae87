"""Files that people name: those that get a key, and those that are written once."""
