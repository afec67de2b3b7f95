"""NUMA cells and PCI devices of hosts, and who has which of them.

A host tells its cells and devices in its offer (`facts.py`). What a guest wants of them follows from its
flavor (`wish.py`). Which cells and devices it is given is decided once, when it is placed (`give.py`), and is
a row of its own until it leaves: guests stay at their cells while others come and go, so who is there now
does not tell where each of them is. The scheduler decides with the same function what it proposes.

Sources: Nova's "CPU topologies", "Huge pages" and "Attaching physical PCI devices to guests".
"""
