"""Functions of (value, base url) that give the JSON shapes clients know."""
