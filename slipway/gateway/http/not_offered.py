"""Well-known endpoints that this server does not have, and what to do instead; told by `gateway.app`."""

_GENERATES = "This server generates text with the model that it serves"
_ELSEWHERE = f"{_GENERATES}, and does nothing else"
_ONE_BY_ONE = f"{_GENERATES}, one request at a time; send each to /v1/chat/completions"
_STATELESS = f"{_GENERATES}, and keeps no such objects; /v1/responses goes on from previous_response_id"

# By the beginning of the path; the longest that fits counts.
_SENTENCES = {
    "/v1/embeddings": f"{_GENERATES}, and makes no embeddings; ask a server of embedding models",
    "/v1/rerank": f"{_GENERATES}, and ranks nothing; ask a server of embedding models",
    "/v1/score": f"{_GENERATES}, and scores nothing; ask a server of embedding models",
    "/v1/audio": f"{_ELSEWHERE}: no speech",
    "/v1/realtime": f"{_ELSEWHERE}: no speech; stream from /v1/chat/completions",
    "/v1/images": f"{_ELSEWHERE}: no images",
    "/v1/videos": f"{_ELSEWHERE}: no videos",
    "/v1/moderations": f"{_ELSEWHERE}: no moderation",
    "/v1/files": f"{_ELSEWHERE}: no files; put the text into the messages",
    "/v1/uploads": f"{_ELSEWHERE}: no files; put the text into the messages",
    "/v1/vector_stores": f"{_ELSEWHERE}: no search in files; put the text into the messages",
    "/v1/containers": f"{_ELSEWHERE}: it runs no code",
    "/v1/evals": f"{_ELSEWHERE}: no evaluations",
    "/v1/batches": _ONE_BY_ONE,
    "/v1/messages/batches": f"{_GENERATES}, one request at a time; send each to /v1/messages",
    "/v1/fine_tuning": f"{_GENERATES}; tune elsewhere, and build the checkpoint with `python -m build`",
    "/v1/assistants": _STATELESS,
    "/v1/threads": _STATELESS,
    "/v1/conversations": _STATELESS,
}


def why_not_offered(path: str) -> str | None:
    """What to say of a path that is well known and not offered; None of one that nobody knows."""
    known = [start for start in _SENTENCES if path == start or path.startswith(f"{start}/")]
    return _SENTENCES[max(known, key=len)] if known else None
