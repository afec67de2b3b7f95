"""The sans-I/O cores: same inputs, same outputs. No await, no clock, no global random."""
