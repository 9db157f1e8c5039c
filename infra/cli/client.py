"""A client of the HTTP API, as small as an app's would be."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from shared.errors import CATALOGUE, PipelineError
from shared.options import JobOptions

_POLL_S = 0.1
_TERMINAL = ("completed", "rejected", "failed", "canceled", "expired")


class ApiClient:
    """Creates, uploads, follows and reads.

    Args:
        url: Of the API, without a trailing slash.
        token: Of an API key.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._client = httpx.Client(timeout=httpx.Timeout(600.0, connect=5.0), trust_env=False)
        self._headers = {"authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close connections."""
        self._client.close()

    def upload(self, path: Path, options: JobOptions) -> dict[str, Any]:
        """Create a job and upload its recording; return the job as created.

        Raises:
            PipelineError: As the API answers.
            OSError: The file cannot be read.
        """
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            name = path.name.encode("utf-8", "replace").decode()  # not every file name is text
            body = {"filename": name, "size_bytes": size_bytes, "options": options.model_dump(mode="json")}
            created = self._api("POST", "/v1/jobs", json=body).json()
            upload = created["upload"]
            headers = {**upload["headers"], "content-length": str(size_bytes)}
            self._request(upload["method"], upload["url"], content=file, headers=headers)
        job: dict[str, Any] = created["job"]
        return job

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The status document, again and again until it is terminal.

        Raises:
            PipelineError: As the API answers.
        """
        while True:
            job = self._api("GET", f"/v1/jobs/{job_id}").json()
            yield job
            if job["state"] in _TERMINAL:
                return
            time.sleep(_POLL_S)

    def transcript(self, job_id: str, format_name: str) -> str:
        """The transcript in one format.

        Raises:
            PipelineError: As the API answers.
        """
        return self._api("GET", f"/v1/jobs/{job_id}/transcript", params={"format": format_name}).text

    def _api(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._request(method, f"{self._url}{path}", headers=self._headers, **arguments)

    def _request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._client.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise PipelineError("service.unavailable", "The local cloud did not answer.") from error
        if response.is_success:
            return response
        try:
            problem = response.json()
            code, message = problem["code"], problem["detail"]
        except (ValueError, KeyError):
            code, message = "internal", f"The server answered {response.status_code}."
        raise PipelineError(code if code in CATALOGUE else "internal", message)
