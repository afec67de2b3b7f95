"""JSON schemas of request bodies and query strings. Unknown fields are refused."""
