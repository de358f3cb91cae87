"""The face: CLI, settings, and one composition root per process. Nothing imports it."""
