"""The HTTP API: create a job, follow it, read its transcript."""

import functions_framework.aio
from fastapi import FastAPI, Request

from infra.api.app import create_app

app = create_app()


@functions_framework.aio.http
async def api(_request: Request) -> FastAPI:
    """Serve the API behind one function: functions-framework answers with the app this returns."""
    return app
