"""Nodes (fabric processes), hosts (machines that run VMs), join tokens, role grants."""
