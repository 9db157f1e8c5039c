"""Blobs: what is too large for a message is put to a URL, and got from there."""

import hashlib

from aiohttp import web
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import Request, rpc
from tests.modal_server.state import State, new_id

_LARGEST_BYTES = 8 << 30


@rpc
async def BlobCreate(request: Request) -> pb.BlobCreateResponse:
    blob_id = new_id("bl")
    url = f"{request.state.blob_url}/{blob_id}"
    return pb.BlobCreateResponse(
        blob_id=blob_id, blob_ids=[blob_id], upload_url=url, upload_urls=pb.UploadUrlList(items=[url])
    )


@rpc
async def BlobGet(request: Request) -> pb.BlobGetResponse:
    return pb.BlobGetResponse(download_url=f"{request.state.blob_url}/{request.message.blob_id}")


async def serve_blobs(state: State) -> web.AppRunner:
    """Serve them at ``state.blob_url``, until the runner is cleaned up."""

    async def put(request: web.Request) -> web.Response:
        path = state.blob(request.match_info["id"])
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb") as file:
            async for block in request.content.iter_chunked(1 << 20):
                file.write(block)
                digest.update(block)
        # By this the client sees whether it arrived as it was sent.
        return web.Response(headers={"ETag": f'"{digest.hexdigest()}"'})

    async def get(request: web.Request) -> web.FileResponse:
        return web.FileResponse(state.blob(request.match_info["id"]))

    app = web.Application(client_max_size=_LARGEST_BYTES)
    app.router.add_put("/{id}", put)
    app.router.add_get("/{id}", get)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state.blob_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner
