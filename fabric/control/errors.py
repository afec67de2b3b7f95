"""What an operation can refuse, in the API's terms but without HTTP. Dialects turn them into faults."""

from __future__ import annotations

from fabric.errors import FabricError, Outcome


class ControlError(FabricError):
    """`message` is for the user: it names the field or object and the fix. `type_name` is what the dialect's
    clients know the fault by, where they know one."""

    code = "fabric.control"
    outcome = Outcome.NOT_DONE

    def __init__(self, message: str, *, type_name: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.type_name = type_name


class InvalidError(ControlError):  # 400
    code = "fabric.control.invalid"


class UnauthenticatedError(ControlError):  # 401
    code = "fabric.control.unauthenticated"


class ForbiddenError(ControlError):  # 403
    code = "fabric.control.forbidden"


class QuotaError(ForbiddenError):  # 403 (compute), 409 (network)
    code = "fabric.control.quota"


class NotFoundError(ControlError):  # 404
    code = "fabric.control.not_found"


class ConflictError(ControlError):  # 409
    code = "fabric.control.conflict"


class TooLargeError(ControlError):  # 413
    code = "fabric.control.too_large"


class UnavailableError(ControlError):  # 503
    code = "fabric.control.unavailable"
