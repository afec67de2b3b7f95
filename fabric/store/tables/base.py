"""What every table shares: naming of constraints, and column types that behave alike on both engines."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BigInteger, Dialect, MetaData, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# Bytewise order on both engines: pages and determinism must not depend on a database's locale.
TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
# 64 bits on both: SQLite has no other integers, and milliseconds need them.
INT = BigInteger()


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class JsonText(TypeDecorator[Any]):
    """A plain value as canonical JSON text: equal values are equal bytes, whatever order they came in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


def canonical_json(value: Any) -> str:
    return "{}" if value == {} else _ENCODER.encode(value)
