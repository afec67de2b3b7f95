"""What a diagnosis is: one finding, whom it is about, and the cure, in words an operator can act on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"  # something does not work now
    WARNING = "warning"  # it works, and will not for long or not well
    NOTE = "note"  # worth knowing; all is well


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`check` is a stable word for programs; `peer` None: about this node or the fabric."""

    check: str
    severity: Severity
    what: str
    cure: str
    peer: str | None = None
