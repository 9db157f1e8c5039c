"""Pages for people: the reference, made from the OpenAPI document, and what each error code means.

They need nothing from elsewhere and run no script, so that the strictest policy of content security suits them.
"""

import base64
import hashlib
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from infra.api import pages
from infra.wiring import services
from shared.errors import CATALOGUE

router = APIRouter(include_in_schema=False)

_STYLE_HASH = base64.b64encode(hashlib.sha256(pages.STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
def home() -> RedirectResponse:
    """A person who opens the address wants the reference."""
    return RedirectResponse("docs")


@router.get("/openapi.json")
def document(request: Request) -> JSONResponse:
    """The OpenAPI document, with this deployment's address."""
    return JSONResponse(_document(request))


@router.get("/docs")
def reference(request: Request) -> HTMLResponse:
    """The reference."""
    return _page(pages.reference(_document(request)))


@router.get("/errors")
def errors() -> HTMLResponse:
    """What each error code means; a problem's ``type`` leads to its row."""
    return _page(pages.errors(CATALOGUE.values()))


def _document(request: Request) -> dict[str, Any]:
    servers = [{"url": services().settings.public_url.rstrip("/") or "/", "description": "This deployment."}]
    return {**request.app.openapi(), "servers": servers}


def _page(content: str) -> HTMLResponse:
    return HTMLResponse(content, headers={"content-security-policy": _POLICY, "cache-control": "max-age=300"})
