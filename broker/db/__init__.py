"""The database: the only home of SQLAlchemy. `Connection` is named here for those who pass one on."""

from sqlalchemy import Connection

__all__ = ["Connection"]
