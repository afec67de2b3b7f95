"""What network operations refuse, as precisely as Neutron tells it: clients and tempest match its type
names, so each has a class here and `fabric/api/network/faults.py` maps class to name."""

from __future__ import annotations

from fabric.control.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError


class NetworkNotFoundError(NotFoundError):
    code = "fabric.control.network_not_found"


class SubnetNotFoundError(NotFoundError):
    code = "fabric.control.subnet_not_found"


class PortNotFoundError(NotFoundError):
    code = "fabric.control.port_not_found"


class SecurityGroupNotFoundError(NotFoundError):
    code = "fabric.control.security_group_not_found"


class SecurityRuleNotFoundError(NotFoundError):
    code = "fabric.control.security_rule_not_found"


class NetworkInUseError(ConflictError):
    code = "fabric.control.network_in_use"


class SubnetInUseError(ConflictError):
    code = "fabric.control.subnet_in_use"


class PortInUseError(ConflictError):
    code = "fabric.control.port_in_use"


class SecurityGroupInUseError(ConflictError):
    code = "fabric.control.security_group_in_use"


class DefaultGroupExistsError(ConflictError):
    """Each project has one group named "default", made by the fabric."""

    code = "fabric.control.default_group_exists"


class DefaultGroupFixedError(ConflictError):
    """The default group keeps its name."""

    code = "fabric.control.default_group_fixed"


class DefaultGroupStaysError(ConflictError):
    """The default group cannot be deleted."""

    code = "fabric.control.default_group_stays"


class SecurityRuleExistsError(ConflictError):
    code = "fabric.control.security_rule_exists"


class MacInUseError(ConflictError):
    code = "fabric.control.mac_in_use"


class SubnetOverlapError(InvalidError):
    """Neutron answers 400 (InvalidInput), not 409."""

    code = "fabric.control.subnet_overlap"


class AddressInUseError(ConflictError):
    """Another port has the address that was asked for."""

    code = "fabric.control.address_in_use"


class NoAddressLeftError(ConflictError):
    """Every address of the subnet's pools is taken."""

    code = "fabric.control.no_address_left"


class AttributeForbiddenError(ForbiddenError):
    """Setting this attribute takes more than the caller has. The message names it."""

    code = "fabric.control.attribute_forbidden"
