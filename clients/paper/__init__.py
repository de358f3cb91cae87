"""The paper exchange: a stateful simulator, and the second, independent reading of requests."""
