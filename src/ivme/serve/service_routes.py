"""Routes about the server itself: health, readiness, metrics, and what it serves."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

import ivme
from ivme.serve.lifecycle import Lifecycle
from ivme.serve.problems import starting, stopping
from ivme.serve.responses import ErrorBody, Health, Info, Readiness
from ivme.serve.service import Service, as_problem
from ivme.serve.supervision import MemberDownError

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def service_routes(service: Service, lifecycle: Lifecycle) -> APIRouter:
    """Return the routes that every server has."""
    router = APIRouter(tags=["server"])

    @router.get("/health", response_model=Health, summary="Whether the process is alive")
    async def health() -> Response:
        down = dict(service.model.members_down()) if service.has_started else {}
        return JSONResponse({"status": "degraded" if down else "ok", "members_down": down})

    @router.get(
        "/ready",
        response_model=Readiness,
        summary="Whether texts can be answered",
        responses={503: {"model": ErrorBody, "description": "Not now."}},
    )
    async def ready() -> Response:
        if lifecycle.is_stopping:
            raise stopping()
        if service.is_ready:
            return JSONResponse({"ready": True})
        if service.is_loading or not service.has_started:
            raise starting()
        reasons = "; ".join(service.model.members_down().values())
        raise as_problem(MemberDownError(reasons))

    @router.get(
        "/metrics",
        summary="Counts for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, 401: {"model": ErrorBody}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.as_text(), media_type=PROMETHEUS)

    @router.get("/v1/info", response_model=Info, summary="What is served, within which bounds")
    async def info() -> Response:
        return JSONResponse(server_info(service))

    return router


def server_info(service: Service) -> dict[str, Any]:
    """Return what clients should know before they send a text."""
    config = service.config
    return {
        "least_words": 0,
        **service.model.info(),
        "max_characters": config.max_characters,
        "max_texts": config.max_queue,
        "timeout_s": config.timeout_s,
        "version": ivme.__version__,
        "auth_required": config.api_key is not None,
        "members_down": dict(service.model.members_down()) if service.has_started else {},
    }
