"""What the configuration makes of this machine's processors, before anything is started."""

from __future__ import annotations

import pytest

from drivers.libvirt.host_cpus import online_cpus
from fabric.agent_host import processors_of
from fabric.compute.processors import HostProcessors
from fabric.config import ComputeSection, Config, NodeSection
from fabric.errors import ConfigError


def config(dedicated: str, shared: str = "", *, driver: str = "sim", is_host: bool = True) -> Config:
    compute = ComputeSection(driver=driver, sim_vcpus=4, cpu_dedicated_set=dedicated, cpu_shared_set=shared)
    return Config(node=NodeSection(host=is_host), compute=compute)


def test_a_simulated_machine_has_as_many_as_it_offers() -> None:
    divided = HostProcessors(shared=frozenset({0, 1}), dedicated=frozenset({2, 3}))
    assert processors_of(config("2-3")) == divided
    assert processors_of(config("2-3", "1,0")) == divided
    assert processors_of(config("")) == HostProcessors()
    with pytest.raises(ConfigError, match=r"compute\.cpu_dedicated_set: this machine has no processor 4-9"):
        processors_of(config("2-9"))
    with pytest.raises(ConfigError, match=r"compute\.cpu_shared_set: this machine has no processor 4"):
        processors_of(config("", "4"))
    assert processors_of(config("2-9", is_host=False)) == HostProcessors()


def test_a_real_machine_is_looked_at() -> None:
    beyond = max(online_cpus()) + 1
    with pytest.raises(ConfigError, match=f"no processor {beyond}; it has"):
        processors_of(config(str(beyond), driver="libvirt"))
