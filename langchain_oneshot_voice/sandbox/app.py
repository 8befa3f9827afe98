"""The routes: convert HTTP requests into calls of the service, and back.

Importing this module needs the extra `sandbox`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .proofs import Scope
from .refusals import Refusal
from .service import Caller, Service
from .switchboard import Job


def build_app(service: Service) -> Starlette:
    """Return the service as an ASGI application."""
    routes = _Routes(service)
    return Starlette(
        routes=[
            Route("/v1/tools/voice/call", routes.call, methods=["POST"]),
            Route("/v1/tools/voice/numbers", routes.numbers, methods=["GET", "POST"]),
            Route("/v1/tools/balance", routes.reading(service.balance)),
            Route("/v1/requests/{request_id}", routes.job),
            WebSocketRoute("/v1/requests/subscribe", routes.subscribe),
            Route("/v1/analytics/receipts", routes.receipts),
            Route("/v1/agents/me", routes.reading(service.agent)),
            Route("/v1/agents/me/budgets", routes.budgets, methods=["GET", "PUT"]),
            Route("/v1/approvals/{approval_id}", routes.approval),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _no_route},
    )


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def call(self, request: Request) -> Response:
        body = await _json(request)
        if "x-quote-id" in request.headers or "payment-signature" in request.headers:
            return JSONResponse(self._service.pay(body, request.headers), status_code=202)
        quoted = self._service.quote(body, request.headers, str(request.url))
        return JSONResponse(
            quoted.body, status_code=402, headers={"PAYMENT-REQUIRED": quoted.header}
        )

    async def numbers(self, request: Request) -> Response:
        if request.method == "POST":
            caller = self._caller(request, "write")
            return JSONResponse(self._service.buy_phone_number(caller), status_code=201)
        return JSONResponse(self._service.phone_numbers(self._caller(request, "read")))

    async def job(self, request: Request) -> Response:
        caller = self._caller(request, "read")
        return JSONResponse(self._service.job(request.path_params["request_id"], caller))

    async def receipts(self, request: Request) -> Response:
        caller = self._caller(request, "read")
        return JSONResponse(self._service.receipts(caller, request.query_params))

    async def budgets(self, request: Request) -> Response:
        if request.method == "PUT":
            caller = self._caller(request, "write")
            return JSONResponse(self._service.set_budgets(caller, await _json(request)))
        return JSONResponse(self._service.budgets(self._caller(request, "read")))

    async def approval(self, request: Request) -> Response:
        caller = self._caller(request, "read")
        return JSONResponse(self._service.approval(request.path_params["approval_id"], caller))

    def reading(self, read: Callable[[Caller], dict[str, Any]]) -> Callable[[Request], Any]:
        async def route(request: Request) -> Response:
            return JSONResponse(read(self._caller(request, "read")))

        return route

    async def subscribe(self, websocket: WebSocket) -> None:
        wallet = websocket.query_params.get("wallet", "").lower()
        await websocket.accept()
        subscriber = _Subscriber(self._service, wallet)
        sending = asyncio.create_task(subscriber.send(websocket))
        try:
            while True:
                subscriber.subscribe(await websocket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            sending.cancel()
            subscriber.unsubscribe()

    def _caller(self, request: Request, scope: Scope) -> Caller:
        return self._service.identify(request.headers, scope=scope)


class _Subscriber:
    """One open socket, and its calls."""

    def __init__(self, service: Service, wallet: str) -> None:
        self._service = service
        self._wallet = wallet
        self._updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._jobs: list[Job] = []

    def notify(self, job: dict[str, Any]) -> None:
        self._updates.put_nowait(job)

    def subscribe(self, text: str) -> None:
        """Subscribe to the calls of a `{"subscribe": [...]}`. Ignore any other message."""
        try:
            message = json.loads(text)
        except ValueError:
            return
        request_ids = message.get("subscribe") if isinstance(message, dict) else None
        with self._service.lock:
            for request_id in request_ids if isinstance(request_ids, list) else ():
                job = self._service.switchboard.subscribe(self, str(request_id), self._wallet)
                if job is not None:
                    self._jobs.append(job)

    async def send(self, websocket: WebSocket) -> None:
        """Send the updates until the socket is closed."""
        try:
            while True:
                await websocket.send_json(await self._updates.get())
        except WebSocketDisconnect:
            return

    def unsubscribe(self) -> None:
        """Stop receiving updates."""
        for job in self._jobs:
            job.subscribers.discard(self)


async def _json(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except ValueError:
        raise Refusal(400, "invalid_request", "The body must be JSON.") from None


async def _refused(_: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise refusal
    return JSONResponse(refusal.body(), status_code=refusal.status)


async def _no_route(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = "not_found" if error.status_code == 404 else "method_not_allowed"  # noqa: PLR2004
    return JSONResponse({"error": code, "message": error.detail}, status_code=error.status_code)
