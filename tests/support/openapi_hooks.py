"""What schemathesis is told beside the document, when `integration/test_openapi.py` runs it."""

import os
from typing import Any

import schemathesis

TIMEOUT_S = 60


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Ask for the model that is there: made-up names would get no further than 404."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"]:
        return {**body, "model": os.environ["SERVED_MODEL"]}
    return body


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, **options: Any) -> None:
    """Give it time: a made-up one is over before the answer, which is a 504 as it should be."""
    timeout = case.body.get("timeout") if isinstance(case.body, dict) else None
    if type(timeout) in (int, float) and 0 < timeout < TIMEOUT_S:
        case.body = {**case.body, "timeout": TIMEOUT_S}
