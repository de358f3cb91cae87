"""The control API: the only home of FastAPI."""
