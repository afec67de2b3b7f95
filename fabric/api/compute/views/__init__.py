"""Functions of (value, microversion, links) -> the JSON of exactly that version."""
