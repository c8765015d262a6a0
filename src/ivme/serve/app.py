"""The application: routes, errors and the gate, around one service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

import ivme
from ivme.errors import IvmeError
from ivme.serve.configuration import ServeConfig
from ivme.serve.door import MODEL_ROUTES, Door
from ivme.serve.gate import Gate
from ivme.serve.lifecycle import Lifecycle
from ivme.serve.page_files import page_routes
from ivme.serve.plan_model import PlanModel
from ivme.serve.plan_routes import ROUTES, documented, plan_routes
from ivme.serve.predict_route import Endpoint, predict_endpoint, predict_route
from ivme.serve.problems import CODES, Problem
from ivme.serve.requests import invalid_request
from ivme.serve.served_model import open_served_model
from ivme.serve.service import Service, as_problem
from ivme.serve.service_routes import service_routes


def build_app(config: ServeConfig, service: Service | None = None) -> FastAPI:
    """Return the application that serves the folder; its model is loaded when it starts.

    service: one that was made before, so that its model loads meanwhile.

    Raises:
        UsageError: the folder holds neither a plan nor an ensemble, or a damaged one.
    """
    service = service or Service(config, open_served_model(config))
    lifecycle = Lifecycle()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="Ivme",
        version=ivme.__version__,
        description="A text model, tuned for this machine.",
        docs_url=None,  # would load its page from another host
        redoc_url=None,
        lifespan=lifespan,
        strict_content_type=False,  # the gate leaves none: bodies are JSON whatever they are called
        redirect_slashes=False,
        # Newer versions look for OpenTelemetry in each request; /metrics tells what there is.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service, app.state.lifecycle = service, lifecycle
    app.state.door = door = Door(service, lifecycle)
    app.include_router(service_routes(service, lifecycle))
    predict = _predict_endpoint(service)
    app.include_router(model_routes(service))
    if predict is not None:
        app.include_router(predict_route(predict))
    app.include_router(page_routes())
    _answer_errors(app, service)
    endpoints = {} if predict is None else {"/predict": predict}
    app.add_middleware(Gate, service=service, door=door, endpoints=endpoints)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )
    return app


def model_routes(service: Service) -> APIRouter:
    """Return the routes that give texts to the model."""
    if isinstance(service.model, PlanModel):
        return plan_routes(service, service.model)
    from ivme.serve import ensemble_routes  # a plan's server needs nothing of ensembles

    assert isinstance(service.model, ensemble_routes.EnsembleModel)
    return ensemble_routes.ensemble_routes(service, service.model)


def _predict_endpoint(service: Service) -> Endpoint | None:
    """Return what answers at /predict; None for a model that has no labels."""
    if not isinstance(service.model, PlanModel):
        from ivme.serve import ensemble_routes

        return predict_endpoint(service, ensemble_routes.documented)
    return predict_endpoint(service, documented) if service.model.kind == "classifier" else None


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Give every error the one body; what is no error of a client is the gate's to tell."""

    def refuse(request: Request, problem: Problem) -> Response:
        if request.url.path in MODEL_ROUTES:
            service.metrics.refusals.labels(problem.code).inc()
        return JSONResponse(problem.body, problem.status, headers=problem.headers)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return refuse(request, error)

    @app.exception_handler(IvmeError)
    async def on_ivme_error(request: Request, error: IvmeError) -> Response:
        return refuse(request, as_problem(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return refuse(request, invalid_request(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        problem = Problem(
            error.status_code,
            CODES.get(error.status_code, "error"),
            _sentence(request, error, service),
        )
        response = JSONResponse(problem.body, problem.status)
        response.headers.update(error.headers or {})
        return response


def _sentence(request: Request, error: HTTPException, service: Service) -> str:
    path = request.url.path
    if error.status_code == 404 and path in MODEL_ROUTES:
        kind = service.model.kind
        return f"this server runs a model of kind {kind}; use {ROUTES.get(kind, '/predict')}"
    if error.status_code == 404 and error.detail == "Not Found":
        return f"there is nothing at {path}; /openapi.json lists what there is"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.method} is not allowed at {path}; use {allowed}"
    return str(error.detail)
