"""The host tells its offer after it registered, again when it changes, and waits for level 2."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from drivers.libvirt.cpu_traits import cpu_traits
from fabric.compute.offering import OfferTeller, host_offers
from fabric.compute.supplement import Supplement
from fabric.core.placement.inventory import Inventory
from fabric.core.providers.standard_traits import STANDARD_TRAITS
from fabric.errors import CommandRejectedError
from proto.commands.providers import ClassInventory, HostOffers
from tests.fixtures.compute_doubles import DriverDouble, Machine, StateDouble
from tests.fixtures.compute_rows import HOST

OFFERS = replace(DriverDouble(Machine()).offers, arch="x86_64", traits=("HW_CPU_X86_AVX", "NONSENSE"))
CPUINFO = "processor\t: 0\nflags\t\t: fpu sse4_2 pni avx2 aes unheard_of\n\nprocessor\t: 1\nflags\t\t: vmx\n"


def test_an_offer_is_what_driver_and_operator_say() -> None:
    added = Supplement(inventories={"CUSTOM_A": Inventory(total=2, max_unit=1)}, traits=("CUSTOM_T",))
    command = host_offers(HOST, OFFERS, added)
    assert command.inventories == {"CUSTOM_A": ClassInventory(total=2, max_unit=1)}
    own = ("COMPUTE_ARCH_X86_64", "COMPUTE_NODE", "CUSTOM_T", "HW_ARCH_X86_64", "HW_CPU_X86_AVX")
    assert command.traits == own


def test_dedicated_processors_are_offered_once_each() -> None:
    command = host_offers(HOST, OFFERS, Supplement(), frozenset({2, 3}))
    assert command.inventories == {"PCPU": ClassInventory(total=2, max_unit=2)}


def test_flags_of_the_processor_have_names() -> None:
    found = cpu_traits(CPUINFO)
    assert found == ("HW_CPU_X86_AESNI", "HW_CPU_X86_AVX2", "HW_CPU_X86_SSE3", "HW_CPU_X86_SSE42")
    assert cpu_traits("model name: none\n") == ()


def test_every_flag_known_has_a_standard_name() -> None:
    from drivers.libvirt import cpu_traits as module

    assert set(module._TRAIT_OF.values()) <= STANDARD_TRAITS


async def test_the_offer_waits_for_level_two_and_is_told_again_when_it_changes() -> None:
    state = StateDouble()
    refusals = 3
    propose = state.propose

    async def at_level_one(command, *, request_id):  # type: ignore[no-untyped-def]
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise CommandRejectedError("bad_state", "This needs level 2")
        return await propose(command, request_id=request_id)

    state.propose = at_level_one  # type: ignore[method-assign]
    offer = HostOffers(host_id=HOST)
    registered = asyncio.Event()
    teller = OfferTeller(state, registered, lambda: offer, check_s=0.005, retry_s=0.001)
    task = asyncio.create_task(teller.run())
    await asyncio.sleep(0.01)
    assert refusals == 3  # nothing is told of a host that nobody knows
    registered.set()
    await state.until(lambda: len(state.commands) == 1)
    offer = HostOffers(host_id=HOST, traits=("CUSTOM_A",))
    await state.until(lambda: len(state.commands) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    told = [command for command in state.commands if isinstance(command, HostOffers)]
    assert [command.traits for command in told] == [(), ("CUSTOM_A",)]
