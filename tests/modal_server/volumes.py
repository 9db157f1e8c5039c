"""Volumes: folders on disk, filled by ``Volume.batch_upload``."""

import os
from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_server.rpc import Request, rpc, stream_rpc
from tests.modal_server.state import new_id


@rpc
async def VolumeGetOrCreate(request: Request) -> pb.VolumeGetOrCreateResponse:
    name, volumes = request.message.deployment_name, request.state.volumes
    volume_id = next((known for known, called in volumes.items() if called == name), None)
    if volume_id is None:
        if request.message.object_creation_type != pb.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            raise GRPCError(Status.NOT_FOUND, f"no volume {name}")
        volume_id = new_id("vo")
        volumes[volume_id] = name
        request.state.volume_folder(name).mkdir(parents=True, exist_ok=True)
    version = pb.VOLUME_FS_VERSION_V1
    metadata = pb.VolumeMetadata(name=name, version=version)
    return pb.VolumeGetOrCreateResponse(volume_id=volume_id, version=version, metadata=metadata)


@stream_rpc
async def VolumeListFiles(request: Request) -> AsyncIterator[pb.VolumeListFilesResponse]:
    folder = request.state.volume_folder(request.state.volumes[request.message.volume_id])
    entries = [
        pb.FileEntry(
            path=str(path.relative_to(folder)),
            type=pb.FileEntry.FILE if path.is_file() else pb.FileEntry.DIRECTORY,
            size=path.stat().st_size,
            mtime=int(path.stat().st_mtime),
        )
        for path in sorted(folder.rglob("*"))
    ]
    yield pb.VolumeListFilesResponse(entries=entries)


@rpc
async def VolumePutFiles(request: Request) -> Empty:
    folder = request.state.volume_folder(request.state.volumes[request.message.volume_id])
    places = [(file, folder / file.filename.lstrip("/")) for file in request.message.files]
    if request.message.disallow_overwrite_existing_files and any(place.exists() for _, place in places):
        raise GRPCError(Status.ALREADY_EXISTS, "a file is there already")
    for file, place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        # Model files are large; a second name for one is not.
        os.link(request.state.content(file.sha256_hex), place)
    return Empty()


@rpc
async def VolumeCommit(request: Request) -> pb.VolumeCommitResponse:
    return pb.VolumeCommitResponse()
