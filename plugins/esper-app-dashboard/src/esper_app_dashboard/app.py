"""The pages and answers of the dashboard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from esper_app_dashboard.board import Board
from esper_app_dashboard.guard import Access, Guard
from esper_app_dashboard.reader import Reader
from esper_app_dashboard.services import Services
from esper_app_dashboard.streams import INTERVAL, Streams

#: So many runs are looked at side by side, and so many browsers at most.
MOST_CHOSEN, MOST_STREAMS = 8, 256

#: Every file that a browser may ask for, by its address: a table, in which there is no way to another place.
_ASSETS = {
    "/": ("esper_app_dashboard", "static/index.html", "text/html; charset=utf-8"),
    "/static/common.css": ("esper_runs.html", "common.css", "text/css; charset=utf-8"),
    "/static/dashboard.css": ("esper_app_dashboard", "static/dashboard.css", "text/css; charset=utf-8"),
    "/static/uPlot.css": ("esper_app_dashboard", "static/uplot/uPlot.min.css", "text/css; charset=utf-8"),
    "/static/tips.js": ("esper_runs.html", "tips.js", "text/javascript; charset=utf-8"),
    "/static/uPlot.js": ("esper_app_dashboard", "static/uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/static/charts.js": ("esper_app_dashboard", "static/charts.js", "text/javascript; charset=utf-8"),
    "/static/dashboard.js": ("esper_app_dashboard", "static/dashboard.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("esper_app_dashboard", "static/icon.svg", "image/svg+xml"),
}


class Dashboard:
    """The server's application.

    Args:
        board: what is shown.
        access: who may see it.
        interval: seconds between two looks at the files.
        services: what is shown beside runs; None: nothing.
    """

    def __init__(
        self, board: Board, access: Access, interval: float = INTERVAL, services: Services | None = None
    ) -> None:
        self._board = board
        self._services = services or Services(None)
        self._reader = Reader()
        self.streams = Streams(board, self._reader, interval)
        routes = [Route(path, _asset(*asset)) for path, asset in _ASSETS.items()]
        routes += [
            Route("/api/runs", self._runs),
            Route("/api/runs/{run}", self._run),
            Route("/api/services", self._service_view),
            Route("/api/stream", self._stream),
        ]
        self.app = Guard(Starlette(routes=routes, lifespan=self._lifespan), access)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self.streams.watch())
        yield
        self.streams.close()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        self._reader.close()

    async def _runs(self, _: Request) -> Response:
        return _json(await self._reader.call(self._board.runs))

    async def _run(self, request: Request) -> Response:
        run = request.path_params["run"]
        found = await self._reader.call(lambda: self._board.view(run))
        if found is None:
            return PlainTextResponse("There is no such run.\n", 404)
        version, body = found
        tag = f'"{version}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return _json(body, etag=tag)

    async def _service_view(self, _: Request) -> Response:
        # Not by the reader: a supervisor that hangs keeps nobody from seeing runs.
        return _json(await run_in_threadpool(self._services.view))

    async def _stream(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self.streams.open >= MOST_STREAMS:
            return PlainTextResponse("Too many are looking already.\n", 503, headers={"retry-after": "10"})
        runs = [it for it in request.query_params.get("runs", "").split(",") if it][:MOST_CHOSEN]
        return StreamingResponse(self.streams.messages(runs), media_type="text/event-stream")


def _json(body: bytes, **headers: str) -> Response:
    return Response(body, media_type="application/json", headers=headers)


def _asset(package: str, path: str, media_type: str) -> Any:
    content = files(package).joinpath(path).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, headers={"content-type": media_type})

    return answer
