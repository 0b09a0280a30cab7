"""A registry of container images, as small as one can be: one image, one user."""

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiohttp import web


@contextlib.asynccontextmanager
async def registry(folder: Path, *, user: str, password: str) -> AsyncIterator[int]:
    """A registry of one image, an OCI folder, for one user: its port."""
    [manifest] = msgspec.json.decode((folder / "index.json").read_bytes())["manifests"]
    token = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != token:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        if request.path == "/v2/":
            return web.Response()
        kind, _, name = request.path.removeprefix("/v2/app/").partition("/")
        digest = manifest["digest"] if kind == "manifests" else name
        content = (folder / "blobs" / digest.replace(":", "/")).read_bytes()
        type = manifest["mediaType"] if kind == "manifests" else "application/octet-stream"
        return web.Response(body=content, content_type=type, headers={"Docker-Content-Digest": digest})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
