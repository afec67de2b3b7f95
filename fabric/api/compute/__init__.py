"""Compute (Nova's API), microversions 2.1 to 2.104. Each answer has exactly the fields of its version."""
