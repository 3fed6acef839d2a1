"""What all tables have in common: their schema, the names of constraints, columns that recur."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, Integer, MetaData, func
from sqlalchemy.types import UserDefinedType

SCHEMA = "pgrecall"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)


class Halfvec(UserDefinedType[bytes]):
    """pgvector's half-precision vector, without a dimension: each generation has its own."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        """The type's name in DDL."""
        return "HALFVEC"


class Vector(UserDefinedType[bytes]):
    """pgvector's vector of full precision, without a dimension."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        """The type's name in DDL."""
        return "VECTOR"


def moment(name: str) -> Column[object]:
    """A point in time; when the row was written, unless it says otherwise."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def of_collection(*, index: bool = False) -> Column[int]:
    """The collection that a row belongs to, and is dropped with."""
    return Column("collection_id", Integer, _owner("collections"), nullable=False, index=index)


def of_generation(*, index: bool = False, primary_key: bool = False) -> Column[int]:
    """The generation that a row belongs to, and is dropped with."""
    return Column(
        "generation_id",
        Integer,
        _owner("generations"),
        nullable=False,
        index=index,
        primary_key=primary_key,
        autoincrement=False,
    )


def _owner(table: str) -> ForeignKey:
    return ForeignKey(f"{SCHEMA}.{table}.{table.removesuffix('s')}_id", ondelete="CASCADE")
