"""The database: the only home of SQLAlchemy."""
