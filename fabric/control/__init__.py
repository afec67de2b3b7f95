"""One function per API operation. Knows neither HTTP nor SQL.

Every function takes (cloud, caller, ...), authorises first (`policy.py`), and raises only
`fabric.control.errors` (plus unexpected bugs). A rejected command becomes one of those.
"""
