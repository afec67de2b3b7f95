"""Placement API 1.0 to 1.39: views over what hosts, servers and outside consumers say."""
