"""What an upload must be sent with, in Cloud Storage's protocol for signed URLs, which the local cloud speaks too."""


def upload_request(content_type: str, max_bytes: int, *, resumable: bool) -> tuple[str, dict[str, str]]:
    """Method and headers to sign: a ``PUT`` that creates the object, or a ``POST`` that opens a session to do so.

    Args:
        content_type: Of the upload.
        max_bytes: Largest upload that is taken.
        resumable: Whether a session is to be opened.
    """
    headers = {
        "content-type": content_type,
        "x-goog-content-length-range": f"0,{max_bytes}",
        "x-goog-if-generation-match": "0",
    }
    return ("POST", {**headers, "x-goog-resumable": "start"}) if resumable else ("PUT", headers)
