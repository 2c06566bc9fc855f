"""What schemathesis is told beside the document, when `integration/test_openapi.py` runs it."""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Ask for the model that is there: made-up names would get no further than 404."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"]:
        return {**body, "model": os.environ["SERVED_MODEL"]}
    return body
