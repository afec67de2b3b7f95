"""`network_data.json`: the guest's links, networks and name servers. Pure.

On a network with DHCP the address is given beside the type: cloud-init ignores it there (so `netmask`,
which it would not ignore, is left out) and people like to see it.
"""

from __future__ import annotations

from ipaddress import ip_network

from fabric.compute.metadata.facts import GuestFacts
from fabric.compute.network_plan import host_routes
from fabric.core.networks.model import Port, Subnet
from netplug.contract import tap_name

JsonObject = dict[str, object]


def network_data(facts: GuestFacts) -> JsonObject:
    links: list[JsonObject] = []
    networks: list[JsonObject] = []
    services: list[JsonObject] = []
    for port in facts.assigned.ports:
        link_id = tap_name(port.port_id)
        network = facts.network_of(port)
        links.append(
            {
                "id": link_id,
                "type": "bridge",
                "ethernet_mac_address": port.mac,
                "mtu": network.mtu if network is not None else None,
                "vif_id": port.port_id,
            }
        )
        for fixed in port.fixed_ips:
            subnet = facts.subnet_of(port, fixed.subnet_id)
            if subnet is None:
                continue
            entry_id = f"network{len(networks)}"
            networks.append({"id": entry_id, "link": link_id, **_network(port, subnet, fixed.address)})
            for service in _name_servers(subnet):
                if service not in services:
                    services.append(service)
    return {"links": links, "networks": networks, "services": services}


def _network(port: Port, subnet: Subnet, address: str) -> JsonObject:
    kind = f"ipv{subnet.ip_version}"
    if subnet.enable_dhcp:
        return {"type": f"{kind}_dhcp", "network_id": port.network_id, "ip_address": address}
    entry: JsonObject = {
        "type": kind,
        "network_id": port.network_id,
        "ip_address": address,
        "netmask": str(ip_network(subnet.cidr).netmask),
        "routes": _routes(subnet),
    }
    if name_servers := _name_servers(subnet):
        entry["services"] = name_servers
    return entry


def _routes(subnet: Subnet) -> list[JsonObject]:
    wanted = list(host_routes(subnet))
    if subnet.gateway_ip is not None:
        wanted.insert(0, ("0.0.0.0/0" if subnet.ip_version == 4 else "::/0", subnet.gateway_ip))
    routes: list[JsonObject] = []
    for destination, gateway in wanted:
        network = ip_network(destination, strict=False)
        routes.append(
            {
                "network": str(network.network_address),
                "netmask": str(network.netmask),
                "gateway": gateway,
            }
        )
    return routes


def _name_servers(subnet: Subnet) -> list[JsonObject]:
    return [{"type": "dns", "address": address} for address in subnet.dns_nameservers]
