"""pgrecall: documents in, evidence out, and Postgres is the only moving part."""

__version__ = "0.1.0"
