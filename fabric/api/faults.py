"""Errors become the dialect's JSON here, and only here.

`fault_of(error, dialect)` turns any exception into a `Fault` (status, message, type, headers);
`dialect.render` turns a Fault into a response. Handlers raise `fabric.control.errors`, or `ApiError`
where only HTTP knows the answer (`ApiError(409, "...", type_name="OverlappingAllocationPools")`).

Dialects and their bodies (CLIENTS.md):
- NOVA      `{"itemNotFound": {"code": 404, "message": ...}}`; quota exceeded is 403 `forbidden`
- KEYSTONE  `{"error": {"code", "message", "title"}}`
- NEUTRON   `{"NeutronError": {"type", "message", "detail"}}`; quota exceeded is 409 `OverQuota`.
            `type` is the error's `type_name` or one for its status
- GLANCE    `{"code", "title", "message"}`; quota exceeded is 413
- PLACEMENT `{"errors": [{"status", "request_id", "code", "title", "detail"}]}`; `code`: its
            `type_name`
- FABRIC    `{"error": {"code", "message", "request_id"}}`

All of them: 401 carries `WWW-Authenticate: Keystone uri="..."`, 503 carries `Retry-After`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from aiohttp import web

from fabric.api import microversion
from fabric.api.microversion import (
    COMPUTE,
    MicroversionMalformedError,
    MicroversionUnsupportedError,
    Versioning,
)
from fabric.api.request import REQUEST_ID, base_url
from fabric.api.responses import json_response
from fabric.control import errors
from fabric.core.queries import BadFilterError, MarkerNotFoundError
from fabric.errors import (
    CommandRejectedError,
    DeadlineExceededError,
    NoQuorumError,
    NotLeaderError,
    PeerUnreachableError,
    RemoteError,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2  # an election takes less than this (DESIGN section 5)
_STATUS_OF: tuple[tuple[type[errors.ControlError], int], ...] = (  # subclasses before their bases
    (errors.InvalidError, 400),
    (errors.UnauthenticatedError, 401),
    (errors.ForbiddenError, 403),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.TooLargeError, 413),
    (errors.UnavailableError, 503),
)
_STATUS_OF_REASON: Mapping[str, int] = {"not_found": 404, "invalid": 400, "forbidden": 403}
_UNAVAILABLE = (NoQuorumError, NotLeaderError, DeadlineExceededError, PeerUnreachableError, RemoteError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as any dialect can render it. `type_name` None: the dialect names it by status."""

    status: int
    message: str
    type_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)  # beside the message, where the dialect has them


class ApiError(Exception):
    """An answer only the HTTP edge knows. `type_name` is Neutron's error type; others ignore it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_name: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = Fault(status=status, message=message, type_name=type_name, headers=headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one API family speaks. `versioning`: its microversions, negotiation and headers."""

    name: str
    body_of: Callable[[Fault, str], object]
    quota_status: int = 403
    versioning: Versioning | None = None
    request_id_headers: tuple[str, ...] = ("x-openstack-request-id",)

    def render(self, fault: Fault, request: web.Request) -> web.Response:
        headers = dict(fault.headers)
        if fault.status == 401:
            headers["WWW-Authenticate"] = f'Keystone uri="{base_url(request)}/identity"'
        if fault.status == 503:
            headers.setdefault("Retry-After", str(RETRY_AFTER_S))
        readable = fault.message.encode("utf-8", "replace").decode()  # it may quote a header's stray bytes
        body = self.body_of(replace(fault, message=readable), str(request.get(REQUEST_ID, "")))
        return json_response(body, status=fault.status, headers=headers)


def fault_of(error: Exception, dialect: Dialect, request: web.Request) -> Fault:
    """Every exception has a fault; an unexpected one is a 500 that tells only the request id."""
    match error:
        case ApiError():
            return error.fault
        case errors.QuotaError():
            return Fault(status=dialect.quota_status, message=error.message, type_name="OverQuota")
        case errors.ControlError():
            return Fault(status=_status_of(error), message=error.message, type_name=error.type_name)
        case CommandRejectedError(reason="quota"):
            return Fault(status=dialect.quota_status, message=error.message, type_name="OverQuota")
        case CommandRejectedError():
            return Fault(status=_STATUS_OF_REASON.get(error.reason, 409), message=error.message)
        case MicroversionMalformedError():
            return Fault(status=400, message=str(error))
        case MicroversionUnsupportedError():
            versions = error.versioning
            facts = {"max_version": str(versions.highest), "min_version": str(versions.lowest)}
            return Fault(status=406, message=str(error), facts=facts)
        case MarkerNotFoundError():
            return Fault(status=400, message="The marker names nothing you can see. Start again without it.")
        case BadFilterError():
            return Fault(status=400, message=str(error))
        case web.HTTPException():
            return _fault_of_http(error)
        case web.RequestPayloadError():
            return Fault(status=400, message="The request body broke off or is not framed as HTTP wants it.")
        case ConnectionError() if request.transport is None or request.transport.is_closing():
            return Fault(status=400, message="The client went away.")  # for the access log; nobody reads it
    if isinstance(error, _UNAVAILABLE):
        log.warning("request not served", extra={"error": error.code, "request_id": request.get(REQUEST_ID)})
        return Fault(
            status=503,
            message=f"The fabric cannot answer right now ({error.code}, outcome {error.outcome}). Try again.",
        )
    log.error(
        "request failed unexpectedly",
        exc_info=error,
        extra={"method": request.method, "path": request.path, "request_id": request.get(REQUEST_ID)},
    )
    return Fault(
        status=500,
        message=f"The API failed unexpectedly; nothing more can be told here. Report request id "
        f"{request.get(REQUEST_ID, 'unknown')} to the operator, whose log has the cause.",
    )


def _status_of(error: errors.ControlError) -> int:
    return next((status for kind, status in _STATUS_OF if isinstance(error, kind)), 500)


def _fault_of_http(error: web.HTTPException) -> Fault:
    """aiohttp's own refusals (404, 405, 413 ...), without its HTML or plain text."""
    headers = {key: value for key, value in error.headers.items() if key in ("Allow", "Location")}
    messages = {
        404: "The resource could not be found.",
        405: f"The method is not allowed here; allowed: {headers.get('Allow', 'none')}.",
        413: "The request body is too large.",
    }
    return Fault(status=error.status, message=messages.get(error.status, error.reason), headers=headers)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


_NOVA_NAMES: Mapping[int, str] = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_NEUTRON_TYPES: Mapping[int, str] = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    409: "HTTPConflict",
    413: "HTTPRequestEntityTooLarge",
    415: "HTTPUnsupportedMediaType",
    503: "ServiceUnavailable",
}


def _nova_body(fault: Fault, request_id: str) -> object:
    return {_NOVA_NAMES.get(fault.status, "computeFault"): {"code": fault.status, "message": fault.message}}


def _keystone_body(fault: Fault, request_id: str) -> object:
    return {"error": {"code": fault.status, "message": fault.message, "title": _title(fault.status)}}


def _neutron_body(fault: Fault, request_id: str) -> object:
    kind = fault.type_name or _NEUTRON_TYPES.get(fault.status, "HTTPInternalServerError")
    return {"NeutronError": {"type": kind, "message": fault.message, "detail": ""}}


def _glance_body(fault: Fault, request_id: str) -> object:
    return {
        "code": f"{fault.status} {_title(fault.status)}",
        "title": _title(fault.status),
        "message": fault.message,
    }


def _placement_body(fault: Fault, request_id: str) -> object:
    entry = {
        "status": fault.status,
        "request_id": request_id,
        "code": fault.type_name or "placement.undefined_code",
        "title": _title(fault.status),
        "detail": fault.message,
        **fault.facts,
    }
    return {"errors": [entry]}


def _fabric_body(fault: Fault, request_id: str) -> object:
    return {"error": {"code": fault.status, "message": fault.message, "request_id": request_id}}


NOVA = Dialect(
    name="compute",
    body_of=_nova_body,
    versioning=COMPUTE,
    request_id_headers=("x-openstack-request-id", "x-compute-request-id"),
)
KEYSTONE = Dialect(name="identity", body_of=_keystone_body)
NEUTRON = Dialect(name="network", body_of=_neutron_body, quota_status=409)
GLANCE = Dialect(name="image", body_of=_glance_body, quota_status=413)
PLACEMENT = Dialect(
    name="placement", body_of=_placement_body, quota_status=409, versioning=microversion.PLACEMENT
)
FABRIC = Dialect(name="fabric", body_of=_fabric_body)
