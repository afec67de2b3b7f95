"""Which host gets a server. Pure: rows and liveness in, a choice or an explained refusal out.

Theory: Nova's filter scheduler. Filters say which hosts can take the server, weighers order those,
most free first, and a rendezvous hash of (server, host) breaks ties, so equal hosts share the load
without a random number and any replay chooses alike. `apply` checks capacity again from the same
numbers, so two schedulers that race lose cleanly.
"""
