"""Placement's operations: reads are views over rows, writes are only of what outsiders keep there."""
