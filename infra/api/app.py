"""The application: every route, what surrounds it, and its reference."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from infra.api import jobs, keys, live, transcripts
from infra.api.edge import Edge
from infra.api.problems import Problem, add_handlers
from infra.bodies import BodyLimit

ROUTERS = (jobs.router, live.router, transcripts.router, keys.router)


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The reference, with the schema of problems, which no route names as its result."""
        if self.openapi_schema is None:
            document = super().openapi()
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = document["components"]["schemas"]
            schemas |= schema.pop("$defs", {})
            schemas["Problem"] = schema
        return self.openapi_schema or {}


def create_app() -> FastAPI:
    """The API as an ASGI application."""
    app = _App(
        title="Earwitness",
        version="1",
        docs_url="/docs",
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.routers = ROUTERS
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/", _home, include_in_schema=False)
    add_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Edge)
    return app


def _home() -> RedirectResponse:
    """A person who opens the address wants the reference."""
    return RedirectResponse("docs")
