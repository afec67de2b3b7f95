"""asyncio: one loop per core, timers, clocks, supervision. Here too live the contracts by which
`control` and `compute` reach state, fleet and blobs without knowing SQL, ZeroMQ or files."""
