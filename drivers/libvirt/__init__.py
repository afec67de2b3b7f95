"""The libvirt driver: guests under QEMU, by KVM where that truly works, by emulation elsewhere.

Only `connection.py` imports `libvirt`; `domain_xml.py` is pure and has golden files.
"""
