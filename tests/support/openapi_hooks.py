"""Hooks of schemathesis: what it sends beside what the OpenAPI document says."""

import os
from typing import Any

import schemathesis

TIMEOUT_S = 60


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Ask for the served model: with a made-up name every answer would be a 404."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"]:
        return {**body, "model": os.environ["SERVED_MODEL"]}
    return body


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, **options: Any) -> None:
    """Set a long timeout: with a made-up short one the answer would be a correct 504."""
    timeout = case.body.get("timeout") if isinstance(case.body, dict) else None
    if isinstance(timeout, int | float) and timeout is not True and 0 < timeout < TIMEOUT_S:
        case.body = {**case.body, "timeout": TIMEOUT_S}
