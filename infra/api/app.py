"""The application: every route, what surrounds it, and its reference."""

from typing import Any

from fastapi import Depends, FastAPI

from infra.api import editing, health, jobs, keys, live, metrics, openai, reference, transcripts, usage, webhooks
from infra.api.cors import Cors
from infra.api.edge import Edge
from infra.api.openapi import DESCRIPTION, VERSION, complete, operation_id
from infra.api.problems import add_handlers, documented
from infra.api.strict import no_stray_parameters
from infra.bodies import BodyLimit

ROUTERS = (
    jobs.router,
    live.router,
    transcripts.router,
    editing.router,
    keys.router,
    openai.router,
    webhooks.router,
    usage.router,
    health.router,
    metrics.router,
)


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; made once, when it is first asked for."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


def create_app() -> FastAPI:
    """The API as an ASGI application."""
    app = _App(
        title="Earwitness",
        summary="Recordings in, attributed transcripts out.",
        description=DESCRIPTION,
        version=VERSION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # The framework's own pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=operation_id,
        dependencies=[Depends(no_stray_parameters)],
        responses=documented(422),  # instead of the framework's own
        redirect_slashes=False,
    )
    app.state.routers = ROUTERS
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(reference.router)
    add_handlers(app)
    app.add_middleware(BodyLimit, larger={openai.PATH: openai.MAX_BODY_BYTES})
    app.add_middleware(Edge)
    app.add_middleware(Cors)
    return app
