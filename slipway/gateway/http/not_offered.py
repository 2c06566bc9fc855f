"""Well-known endpoints that this server lacks, and what a client can do instead."""

_GENERATES = "This server generates text with the model that it serves"
_ONLY_TEXT = f"{_GENERATES}, and does nothing else"
_ONE_BY_ONE = f"{_GENERATES}, one request at a time; send each to"
_STATELESS = f"{_GENERATES}, and stores no such objects; /v1/responses continues from previous_response_id"
_EMBEDDINGS = "ask a server of embedding models"
_FILES = f"{_ONLY_TEXT}: no files; put the text into the messages"

# By the beginning of the path; the longest match counts.
_REASONS = {
    "/v1/embeddings": f"{_GENERATES}, and makes no embeddings; {_EMBEDDINGS}",
    "/v1/rerank": f"{_GENERATES}, and ranks nothing; {_EMBEDDINGS}",
    "/v1/score": f"{_GENERATES}, and scores nothing; {_EMBEDDINGS}",
    "/v1/audio": f"{_ONLY_TEXT}: no speech",
    "/v1/realtime": f"{_ONLY_TEXT}: no speech; stream from /v1/chat/completions",
    "/v1/images": f"{_ONLY_TEXT}: no images",
    "/v1/videos": f"{_ONLY_TEXT}: no videos",
    "/v1/moderations": f"{_ONLY_TEXT}: no moderation",
    "/v1/files": _FILES,
    "/v1/uploads": _FILES,
    "/v1/vector_stores": f"{_ONLY_TEXT}: no search in files; put the text into the messages",
    "/v1/containers": f"{_ONLY_TEXT}: it runs no code",
    "/v1/evals": f"{_ONLY_TEXT}: no evaluations",
    "/v1/batches": f"{_ONE_BY_ONE} /v1/chat/completions",
    "/v1/messages/batches": f"{_ONE_BY_ONE} /v1/messages",
    "/v1/fine_tuning": f"{_GENERATES}; tune elsewhere, and build the checkpoint with `python -m build`",
    "/v1/assistants": _STATELESS,
    "/v1/threads": _STATELESS,
    "/v1/conversations": _STATELESS,
}


def why_not_offered(path: str) -> str | None:
    """Return the reason for a path of a well-known endpoint, None for any other path."""
    matches = [start for start in _REASONS if path == start or path.startswith(f"{start}/")]
    return _REASONS[max(matches, key=len)] if matches else None
