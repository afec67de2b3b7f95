"""Neutron's names for what went wrong. Clients choose by them, so each control error has one."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.routing import Handler
from fabric.control import network_errors as errors
from fabric.control.errors import ConflictError, ControlError, ForbiddenError, InvalidError, NotFoundError

_TYPES: Mapping[type[ControlError], tuple[int, str]] = {  # exact classes
    errors.NetworkNotFoundError: (404, "NetworkNotFound"),
    errors.SubnetNotFoundError: (404, "SubnetNotFound"),
    errors.PortNotFoundError: (404, "PortNotFound"),
    errors.SecurityGroupNotFoundError: (404, "SecurityGroupNotFound"),
    errors.SecurityRuleNotFoundError: (404, "SecurityGroupRuleNotFound"),
    errors.NetworkInUseError: (409, "NetworkInUse"),
    errors.SubnetInUseError: (409, "SubnetInUse"),
    errors.PortInUseError: (409, "PortInUse"),
    errors.SecurityGroupInUseError: (409, "SecurityGroupInUse"),
    errors.DefaultGroupExistsError: (409, "SecurityGroupDefaultAlreadyExists"),
    errors.DefaultGroupFixedError: (409, "SecurityGroupCannotUpdateDefault"),
    errors.DefaultGroupStaysError: (409, "SecurityGroupCannotRemoveDefault"),
    errors.SecurityRuleExistsError: (409, "SecurityGroupRuleExists"),
    errors.MacInUseError: (409, "MacAddressInUse"),
    errors.SubnetOverlapError: (400, "InvalidInput"),
    errors.AddressInUseError: (409, "IpAddressAlreadyAllocated"),
    errors.NoAddressLeftError: (409, "IpAddressGenerationFailure"),
    errors.AttributeForbiddenError: (403, "PolicyNotAuthorized"),
    InvalidError: (400, "InvalidInput"),
    ForbiddenError: (403, "PolicyNotAuthorized"),
    NotFoundError: (404, "HTTPNotFound"),
    ConflictError: (409, "Conflict"),
}


def named(handler: Handler) -> Handler:
    """`handler` with its control errors under Neutron's names. Others pass: the dialect knows them."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ControlError as error:
            known = _TYPES.get(type(error))
            if known is None:
                raise
            status, type_name = known
            raise ApiError(status, error.message, type_name=type_name) from error

    return handle
