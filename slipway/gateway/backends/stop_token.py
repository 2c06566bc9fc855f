"""The token that ended an answer because the client asked for it."""

from collections.abc import Mapping
from dataclasses import replace

from slipway.contract.generation import Delta


def without_stop_token(delta: Delta, stop_tokens: Mapping[int, str], report_end: bool) -> Delta:
    """The last delta of an answer, without its last token if that is one of `stop_tokens`.

    report_end: whether its id and what is reported with it stay, as in `SamplingParams`.
    """
    if not delta.token_ids or delta.token_ids[-1] not in stop_tokens:
        return delta
    if report_end:
        return replace(delta, token_count=delta.token_count - 1, stop_token_id=delta.token_ids[-1])
    return replace(
        delta,
        token_count=delta.token_count - 1,
        token_ids=delta.token_ids[:-1],
        log_probs=delta.log_probs[:-1],
        top_log_probs=delta.top_log_probs[:-1],
        stop_token_id=delta.token_ids[-1],
    )
