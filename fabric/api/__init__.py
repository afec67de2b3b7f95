"""The HTTP front ends: one folder per dialect (compute, identity, image, network), one port.

How a dialect is written
- `schemas/`  JSON schemas, plain dicts. `views/` functions of (value, microversion, base url) -> dict.
- `handlers/` `async def handler(request: web.Request) -> web.StreamResponse`: reads what the pipeline
  prepared (`fabric.api.request`), calls one `fabric.control` function, renders with
  `fabric.api.responses`. Raises `fabric.control.errors`, or `fabric.api.faults.ApiError` for what only
  HTTP knows. Never builds an error body itself.
- `routes.py` `ROUTES: tuple[Route, ...]` and `def app() -> web.Application` calling
  `routing.build_app("compute", ROUTES, faults.NOVA)`.

The pipeline of a request (`routing.Endpoint`): request id, microversion (Compute), token, choice of the
route by microversion, query schema, body schema, handler; any error becomes the dialect's fault.
"""
