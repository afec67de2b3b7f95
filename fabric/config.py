"""The agent's one configuration file (TOML), typed, with the origin of every value.

Defaults, then the file, then the environment (`FABRIC_<SECTION>_<KEY>`). Every field carries its own
explanation, and `fabric init` writes them as comments, so the file on disk is the reference.
An unknown section or key is an error that names the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from fabric.config_pci import PciSection
from fabric.core.placement.cpu_set import format_cpu_set, parse_cpu_set
from fabric.errors import ConfigError

CONFIG_BYTES_MAX = 1 << 20
_NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # what a certificate takes
_INTERFACE_NAME = re.compile(r"(?!\.{1,2}$)[^\s/:]{1,15}")  # what the kernel takes
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
MONITORS = ("cpu.virt_driver",)
API_COUNT_MAX = 21  # `fabric.core.voters.config` says why
DEFAULT_PATH = Path("/etc/fabric/fabric.toml")


def _doc(text: str, default: Any) -> Any:
    return field(default=default, metadata={"doc": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    name: str = _doc("This node's name, unique in the fabric. Empty: the host name.", "")
    state_dir: str = _doc(
        "Keys, log, rows, images and disks live here. Others may pass (0711): QEMU must reach its disks.",
        "/var/lib/fabric",
    )
    zone: str = _doc("Availability zone of this host.", "nova")
    rack: str = _doc("Where in the zone it stands: what may fail together. Free text.", "")
    host: bool = _doc("Run guests on this node.", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSection:
    address: str = _doc("Address peers reach this node at. Empty: the address of the default route.", "")
    port: int = _doc("TCP port of the mesh (CURVE). The same at each start, for peers to find it.", 7400)
    door_port: int = _doc(
        "TCP port where nodes with a token ask to join. The token names it, so keep it.", 7401
    )
    voter_port: int = _doc(
        "TCP port where other voters reach this node's voter, where that has a process of its own "
        "(voters.in_process = false). The same at each start.",
        7402,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSection:
    listen: str = _doc("Address of the API.", "0.0.0.0")  # noqa: S104  # an API is there to be reached
    port: int = _doc("TCP port of the API. 0: any free port.", 8774)
    public_url: str = _doc("What members show as the API's address. Empty: http://ADDRESS:PORT.", "")
    count: int = _doc(
        "How many nodes serve the API at least, with the embedded state: voters and standbys do, and more "
        "stand by for it; each is sent all that is written. 0: as many as there are. At most 21. Counts on "
        "the node that leads.",
        0,
    )
    virtual_address: str = _doc(
        "Address with prefix length that is always on the node that leads, e.g. 10.0.0.100/24; the same on "
        "every node. Empty: none.",
        "",
    )
    virtual_interface: str = _doc(
        "Interface the virtual address goes on. Empty: the one that carries the mesh's address.", ""
    )
    region: str = _doc("Region name in the catalog.", "RegionOne")
    token_ttl_s: int = _doc("Life of an Identity token, in seconds.", 3_600)
    image_bytes_max: int = _doc("Largest image accepted, in bytes.", 1 << 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSection:
    url: str = _doc(
        "Where the control plane's rows live. Empty: the embedded log and SQLite in state_dir. "
        "postgresql+psycopg://USER@HOST/DB: a PostgreSQL database, the same on every node that is to conduct "
        "and serve the API.",
        "",
    )
    segment_bytes: int = _doc(
        "Size of one log segment file, preallocated. Any one entry has to fit: at least 1 MiB and a little.",
        8 << 20,
    )

    @property
    def is_shared(self) -> bool:
        """The rows live in a database that several nodes use."""
        return self.url not in ("", "sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class VotersSection:
    """Who holds the replicated log, with the embedded state."""

    eligible: bool = _doc("Whether this node may hold the log, conduct and serve the API.", True)
    in_process: bool = _doc(
        "Whether this node's voter lives inside its agent: less memory, and an agent that hangs takes its "
        "voter with it. Else it has a process of its own, and nothing that holds the agent up costs a lead.",
        False,
    )
    target: int = _doc(
        "How many nodes vote: 1, 3 or 5. 0: by the number of eligible nodes. Counts on the node that leads.",
        0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesSection:
    """What this node does for the fabric beside conducting."""

    scheduler: bool = _doc(
        "Whether this node may be the scheduler while another one that holds the log can be.", True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSection:
    """Counts on the node that schedules: the same on every node that may."""

    driver: str = _doc(
        "filter: the best by weight. pack: the fullest that fits. chance: any. Or one that is installed.",
        "filter",
    )
    filters: list[str] = field(
        default_factory=list,
        metadata={
            "doc": "Filters to use, by Nova's names. Empty: all but IoOpsFilter, NumInstancesFilter and "
            "JsonFilter. Those for zones, capacity, NUMA, devices, traits and server groups are always used."
        },
    )
    weight_multipliers: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "doc": "How much weighers count, by name, e.g. { RAMWeigher = 2.0, CPUWeigher = 0.0 }. Those not "
            "named have Nova's default."
        },
    )
    max_io_ops_per_host: int = _doc("IoOpsFilter: servers that build or move on one host at once.", 8)
    max_instances_per_host: int = _doc("NumInstancesFilter: servers on one host.", 50)
    isolated_hosts: list[str] = field(
        default_factory=list, metadata={"doc": "Names of hosts that are for isolated_images."}
    )
    isolated_images: list[str] = field(
        default_factory=list, metadata={"doc": "Ids of images that go to isolated_hosts and nowhere else."}
    )
    restrict_isolated_hosts_to_isolated_images: bool = _doc(
        "Whether isolated hosts take no other images.", True
    )
    metric_weights: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "doc": "MetricsWeigher: how much what hosts measure counts, by metric; below 0 less is better, "
            'e.g. { "cpu.percent" = -1.0 }.'
        },
    )
    metrics_required: bool = _doc(
        "MetricsFilter: a host that does not say one of metric_weights gets no servers.", True
    )
    metrics_weight_of_unavailable: float = _doc(
        "MetricsWeigher: what such a host weighs where it is not refused.", -10_000.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSection:
    driver: str = _doc("libvirt or sim.", "libvirt")
    uri: str = _doc("libvirt connection.", "qemu:///system")
    emulate: bool = _doc("Use emulation even where KVM works.", False)
    build_concurrency: int = _doc("Guests built at once on this host. 0: one for each core.", 0)
    cpu_ratio: float = _doc("Virtual CPUs sold for each real one.", 16.0)
    memory_ratio: float = _doc("Memory sold for each real MB.", 1.5)
    cpu_dedicated_set: str = _doc(
        "Processors of this machine that are given to one guest each (PCPU, hw:cpu_policy=dedicated), e.g. "
        '"4-12,^8,15". Empty: none are. Guests that run keep theirs until they are started anew.',
        "",
    )
    cpu_shared_set: str = _doc(
        "Processors that all other guests share (VCPU). Empty: all that are not dedicated.", ""
    )
    disk_ratio: float = _doc("Disk sold for each real GB.", 1.0)
    reserved_memory_mb: int = _doc("Memory kept for the host itself.", 512)
    build_deadline_s: int = _doc("A server must leave BUILD within this time, or it ends in ERROR.", 600)
    action_deadline_s: int = _doc("Start, stop, reboot and delete must end within this time.", 180)
    move_deadline_s: int = _doc(
        "A server on its way to another host, disks and all, must have arrived within this time; one that is "
        "shelved must be an image within it.",
        3_600,
    )
    migration_bandwidth_mib_s: int = _doc(
        "A live migration sends no more than this, in MiB/s, of memory and of each disk. 0: all it can.", 0
    )
    stop_grace_s: int = _doc("How long a guest has to power off by itself before it is forced.", 60)
    provider_config_location: str = _doc(
        "Directory of provider.yaml files: what else this host has to give (CUSTOM_ classes, traits). "
        "Empty: provider_config beside this file.",
        "",
    )
    monitors: list[str] = field(
        default_factory=lambda: list(MONITORS),
        metadata={
            "doc": "What this host measures for MetricsWeigher (Nova's compute_monitors); valid: "
            "cpu.virt_driver."
        },
    )
    sim_build_ms: int = _doc("sim driver: how long a boot takes.", 0)
    sim_migrate_ms: int = _doc("sim driver: how long a live migration takes.", 0)
    sim_vcpus: int = _doc("sim driver: cores offered.", 64)
    sim_memory_mb: int = _doc("sim driver: memory offered.", 262_144)
    sim_disk_gb: int = _doc("sim driver: disk offered.", 4_096)
    sim_numa_cells: int = _doc("sim driver: NUMA cells that cores and memory are divided into. 0: none.", 0)
    sim_pci_devices: list[str] = field(
        default_factory=list,
        metadata={"doc": 'sim driver: PCI devices, e.g. ["0000:81:00.0 10de:1db4 0"], with their NUMA cell.'},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSection:
    uplinks: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "doc": 'Host interface behind each physical network, e.g. { phy0 = "eth1" }. The interface '
            "must carry no address: it becomes a port of the network's bridge."
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSection:
    """Off by default: it is plain HTTP that anybody may read, a port nobody asked for is one to attack, and
    the local socket serves the same. Switched on it serves GET /metrics and nothing else."""

    listen: str = _doc(
        "Address Prometheus scrapes this agent at, e.g. 0.0.0.0. Empty: only the local socket has them.",
        "",
    )
    port: int = _doc("TCP port of GET /metrics, where listen is set. 0: any free port.", 7402)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSection:
    level: str = _doc("DEBUG, INFO, WARNING or ERROR.", "INFO")
    format: str = _doc("json (one object a line) or text.", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    node: NodeSection = field(default_factory=NodeSection)
    mesh: MeshSection = field(default_factory=MeshSection)
    api: ApiSection = field(default_factory=ApiSection)
    state: StateSection = field(default_factory=StateSection)
    voters: VotersSection = field(default_factory=VotersSection)
    roles: RolesSection = field(default_factory=RolesSection)
    scheduler: SchedulerSection = field(default_factory=SchedulerSection)
    compute: ComputeSection = field(default_factory=ComputeSection)
    pci: PciSection = field(default_factory=PciSection)
    network: NetworkSection = field(default_factory=NetworkSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    log: LogSection = field(default_factory=LogSection)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def node_name(self) -> str:
        return self.node.name or socket.gethostname()

    @property
    def state_dir(self) -> Path:
        return Path(self.node.state_dir)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where each value came from: "default", a file's path, or a variable's name."""

    config: Config
    origins: Mapping[str, str]  # "section.key" -> origin


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Raises ConfigError naming the field and the fix."""
    values: dict[str, dict[str, Any]] = {}
    origins = {f"{s}.{f.name}": "default" for s, kind in sections().items() for f in dataclasses.fields(kind)}
    if path is not None:
        for section, key, value in _from_file(path):
            values.setdefault(section, {})[key] = value
            origins[f"{section}.{key}"] = str(path)
    for section, key, value, name in _from_environment(os.environ if environ is None else environ):
        values.setdefault(section, {})[key] = value
        origins[f"{section}.{key}"] = name
    built = {name: kind(**values.get(name, {})) for name, kind in sections().items()}
    return Loaded(Config(**built), origins)


def sections() -> dict[str, Any]:
    return dict(get_type_hints(Config))


def render(config: Config) -> str:
    """The file `fabric init` writes: every setting; defaults as comments, the rest as values."""
    lines = ["# Configuration of this node's agent. Commented lines show the defaults.", ""]
    for name, kind in sections().items():
        lines.append(f"[{name}]")
        section, default = getattr(config, name), kind()
        for item in dataclasses.fields(kind):
            lines.extend(_wrap(item.metadata["doc"]))
            value = getattr(section, item.name)
            mark = "# " if value == getattr(default, item.name) else ""
            lines.append(f"{mark}{item.name} = {_toml(value)}")
        lines.append("")
    return "\n".join(lines)


def _from_file(path: Path) -> list[tuple[str, str, Any]]:
    try:
        if path.stat().st_size > CONFIG_BYTES_MAX:
            raise ConfigError(f"{path}: larger than {CONFIG_BYTES_MAX} bytes: not a configuration file")
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); `fabric init` writes a new one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    found = []
    for section, body in document.items():
        kind = sections().get(section)
        if kind is None or not isinstance(body, dict):
            raise ConfigError(f"{path}: unknown section [{section}]{_near(section, sections())}")
        hints = get_type_hints(kind)
        for key, value in body.items():
            if key not in hints:
                raise ConfigError(f"{path}: unknown setting {section}.{key}{_near(key, hints)}")
            found.append((section, key, _typed(f"{section}.{key}", hints[key], value)))
    return found


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, Any, str]]:
    found = []
    for section, kind in sections().items():
        for key, hint in get_type_hints(kind).items():
            name = f"FABRIC_{section}_{key}".upper()
            if name not in environ:
                continue
            text = environ[name]
            value: Any = text
            if hint is not str:
                try:
                    value = tomllib.loads(f"value = {text}")["value"]
                except tomllib.TOMLDecodeError as error:
                    raise ConfigError(f"{name}: {text!r} is not a TOML {_name(hint)}") from error
            found.append((section, key, _typed(name, hint, value), name))
    return found


def _typed(where: str, hint: Any, value: Any) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint == dict[str, str]:
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return value
        raise ConfigError(f'{where}: expected a table of text, such as {{ phy0 = "eth1" }}')
    if hint == dict[str, float]:
        if isinstance(value, dict) and all(type(item) in (int, float) for item in value.values()):
            return {name: float(item) for name, item in value.items()}
        raise ConfigError(f"{where}: expected a table of numbers, such as {{ RAMWeigher = 2.0 }}")
    if hint == list[dict[str, str]]:
        if isinstance(value, list) and all(
            isinstance(item, dict) and all(isinstance(text, str) for text in item.values()) for item in value
        ):
            return value
        raise ConfigError(f'{where}: expected a list of tables of text, such as [{{ vendor_id = "10de" }}]')
    if hint == list[str]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        raise ConfigError(f'{where}: expected a list of text, such as ["a", "b"]')
    if type(value) is not hint:
        raise ConfigError(f"{where}: expected {_name(hint)}, got {value!r}")
    return value


def _name(hint: Any) -> str:
    names = {int: "a whole number", bool: "true or false", str: "text", float: "a number", list[str]: "list"}
    return names.get(hint, "a table")


def _near(word: str, valid: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else f"; valid: {', '.join(valid)}"


def _check(config: Config) -> None:
    def need(ok: bool, message: str) -> None:
        if not ok:
            raise ConfigError(message)

    for where, port in (
        ("mesh.port", config.mesh.port),
        ("mesh.door_port", config.mesh.door_port),
        ("mesh.voter_port", config.mesh.voter_port),
        ("api.port", config.api.port),
        ("metrics.port", config.metrics.port),
    ):
        need(0 <= port <= 65_535, f"{where}: {port} is not a TCP port (0 to 65535)")
    need(
        0 <= config.api.count <= API_COUNT_MAX,
        f"api.count: {config.api.count} is not 0 to {API_COUNT_MAX}",
    )
    if config.mesh.address:
        try:
            address = ipaddress.ip_address(config.mesh.address)
        except ValueError as error:
            raise ConfigError(f"mesh.address: {config.mesh.address!r} is not an IP address") from error
        need(
            not address.is_unspecified and not address.is_multicast,
            f"mesh.address: {config.mesh.address} is not reachable for peers; name one of this machine's own",
        )
    mesh = config.mesh
    ports = [port for port in (mesh.port, mesh.door_port, mesh.voter_port, config.api.port) if port]
    need(
        len(set(ports)) == len(ports), "mesh.port, mesh.door_port, mesh.voter_port and api.port: must differ"
    )
    need(
        not config.metrics.listen or config.metrics.port not in ports,
        f"metrics.port: {config.metrics.port} is taken by mesh.port, mesh.door_port, mesh.voter_port or "
        "api.port",
    )
    need(
        not config.node.name or _NODE_NAME.fullmatch(config.node.name) is not None,
        f"node.name: {config.node.name!r} must be 1 to 63 letters, digits, dots, dashes or underscores",
    )
    need(
        config.compute.driver in ("libvirt", "sim"),
        f"compute.driver: {config.compute.driver!r} is unknown; valid: libvirt, sim",
    )
    need(
        config.log.level in ("DEBUG", "INFO", "WARNING", "ERROR"),
        f"log.level: {config.log.level!r} is unknown; valid: DEBUG, INFO, WARNING, ERROR",
    )
    need(config.log.format in ("json", "text"), f"log.format: {config.log.format!r}; valid: json, text")
    need(config.voters.target in (0, 1, 3, 5), f"voters.target: {config.voters.target}; valid: 0, 1, 3, 5")
    for key in ("cpu_ratio", "memory_ratio", "disk_ratio"):
        value = getattr(config.compute, key)
        need(0.1 <= value <= 1_000, f"compute.{key}: {value} must be between 0.1 and 1000")
    _check_cpu_sets(config.compute)
    config.pci.read()
    for key in ("build_deadline_s", "action_deadline_s", "move_deadline_s"):
        value = getattr(config.compute, key)
        need(1 <= value <= 86_400, f"compute.{key}: {value} must be between 1 and 86400 seconds")
    for key in (
        "build_concurrency",
        "stop_grace_s",
        "reserved_memory_mb",
        "sim_build_ms",
        "sim_migrate_ms",
        "migration_bandwidth_mib_s",
    ):
        need(getattr(config.compute, key) >= 0, f"compute.{key}: must not be negative")
    for key in ("max_io_ops_per_host", "max_instances_per_host"):
        need(getattr(config.scheduler, key) > 0, f"scheduler.{key}: must be above 0")
    for name in config.compute.monitors:
        need(name in MONITORS, f"compute.monitors: {name!r} is unknown; valid: {', '.join(MONITORS)}")
    for key in ("sim_vcpus", "sim_memory_mb", "sim_disk_gb"):
        need(getattr(config.compute, key) > 0, f"compute.{key}: must be above 0")
    need(
        0 <= config.compute.sim_numa_cells <= config.compute.sim_vcpus,
        f"compute.sim_numa_cells: {config.compute.sim_numa_cells} must be 0 to compute.sim_vcpus",
    )
    need(config.api.image_bytes_max > 0, "api.image_bytes_max: must be above 0")
    _check_virtual_address(config)
    need(60 <= config.api.token_ttl_s <= 86_400, "api.token_ttl_s: must be between 60 and 86400 seconds")
    need(
        config.state.url == "" or config.state.url.startswith(("sqlite", "postgresql+psycopg://")),
        "state.url: must be empty or begin with postgresql+psycopg://",
    )
    need(1 << 20 <= config.state.segment_bytes <= 1 << 30, "state.segment_bytes: 1048576 to 1073741824")
    need(bool(config.node.zone), "node.zone: must not be empty")
    need(len(config.node.rack) <= 64, "node.rack: at most 64 characters")


def _check_cpu_sets(compute: ComputeSection) -> None:
    sets: dict[str, frozenset[int]] = {}
    for key in ("cpu_dedicated_set", "cpu_shared_set"):
        text = getattr(compute, key)
        try:
            sets[key] = parse_cpu_set(text)
        except ValueError as error:
            raise ConfigError(f"compute.{key}: {error}") from error
        if text.strip() and not sets[key]:
            raise ConfigError(f"compute.{key}: {text!r} names no processor; leave it empty for none")
    if both := sets["cpu_dedicated_set"] & sets["cpu_shared_set"]:
        raise ConfigError(
            f"compute.cpu_shared_set: processor {format_cpu_set(both)} is in cpu_dedicated_set, too; "
            "take it out of one of them"
        )


def _check_virtual_address(config: Config) -> None:
    text, name = config.api.virtual_address, config.api.virtual_interface
    if not text:
        if name:
            raise ConfigError("api.virtual_interface: has no use without api.virtual_address; set that too")
        return
    try:
        address = ipaddress.ip_interface(text)
    except ValueError as error:
        raise ConfigError(
            f"api.virtual_address: {text!r} is not an address with prefix length, such as 10.0.0.100/24"
        ) from error

    def need(ok: bool, message: str) -> None:
        if not ok:
            raise ConfigError(message)

    need("/" in text, f"api.virtual_address: {text} needs its prefix length, such as {text}/24")
    no_host = address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local
    need(
        not no_host, f"api.virtual_address: {text} cannot move between hosts; take a free one of their subnet"
    )
    network = address.network
    ends = (network.network_address, *([network.broadcast_address] if address.version == 4 else []))
    need(
        network.prefixlen >= network.max_prefixlen - 1 or address.ip not in ends,
        f"api.virtual_address: {text} is the name of a whole subnet; take a free address in {network}",
    )
    everything = "0.0.0.0" if address.version == 4 else "::"  # noqa: S104  # compared, not bound
    need(
        config.api.listen in ("", everything),
        f"api.listen: {config.api.listen} does not answer at api.virtual_address; set it to {everything}",
    )
    mesh = config.mesh.address
    need(
        not mesh or ipaddress.ip_address(mesh) != address.ip,
        f"mesh.address: {mesh} is api.virtual_address, which moves; name an address of this node's own",
    )
    need(
        not name or _INTERFACE_NAME.fullmatch(name) is not None,
        f"api.virtual_interface: {name!r} is no interface name (at most 15 characters); `ip link` lists them",
    )
    need(
        not name or name not in config.network.uplinks.values(),
        f"api.virtual_interface: {name} is in network.uplinks, which must carry no address; name another",
    )


def _wrap(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + len(word) > 98:
            lines.append(line)
            line = "#"
        line += " " + word
    return [*lines, line]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        items = (f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items())
        return "{ " + ", ".join(items) + " }"
    # JSON's escapes are all TOML's too; DEL alone needs one more
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml(key)
