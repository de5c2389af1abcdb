"""The files that the agent has made, for who asked for them: https://platform.openai.com/docs/api-reference/files"""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from bodies import ApiError
from service.access import Json
from service.workspaces import Workspaces, content_type


class Files:
    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces

    async def retrieve(self, request: Request) -> Response:
        path, created, data = await self._found(request)
        told = {"id": request.path_params["id"], "object": "file", "bytes": len(data), "created_at": int(created)}
        return Json({**told, "filename": path, "purpose": "user_data", "status": "processed"})

    async def content(self, request: Request) -> Response:
        """To be saved and not shown: what a model has written is not to run in a browser."""
        path, _, data = await self._found(request)
        name = path.rpartition("/")[2]
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        headers = {
            "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox; default-src 'none'",
        }
        return Response(data, headers=headers, media_type=content_type(path))

    async def _found(self, request: Request) -> tuple[str, float, bytes]:
        id: str = request.path_params["id"]
        found = await self._workspaces.content(request.state.caller, id)
        if found is None:
            raise ApiError(404, f"No such File object: {id}", "file_not_found", "id")
        return found
