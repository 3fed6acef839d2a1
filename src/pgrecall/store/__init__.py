"""Postgres: the only room that knows SQL."""
