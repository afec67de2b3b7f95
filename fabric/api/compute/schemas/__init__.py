"""One file per noun: what a body or a query may hold, at each microversion."""
