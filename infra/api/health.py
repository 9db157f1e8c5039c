"""Whether this instance lives, and can serve: for load balancers and monitors, without a key."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from infra.pipeline.health import health
from infra.wiring import services

router = APIRouter(prefix="/v1/health", tags=["operations"])


class Live(BaseModel):
    """It answers."""

    status: Literal["up"] = "up"


class Ready(BaseModel):
    """Whether it can serve, and which service keeps it from that."""

    status: Literal["up", "down"]
    dependencies: dict[str, Literal["up", "down"]]


@router.get("/live")
async def live() -> Live:
    """Whether this instance answers. Asks nothing of anything else."""
    return Live()


@router.get("/ready", responses={503: {"model": Ready, "description": "A service does not answer."}})
async def ready(response: Response) -> Ready:
    """Whether the services that this one depends on answer, as of the last few seconds."""
    found = await health.dependencies(services())
    if not all(found.values()):
        response.status_code = 503
    return Ready(
        status="up" if all(found.values()) else "down",
        dependencies={name: "up" if answers else "down" for name, answers in found.items()},
    )
