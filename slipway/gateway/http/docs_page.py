"""The page at /docs: Swagger UI with the files of fastapi-offline, so that it needs no network."""

from functools import partial
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

_PAGE = "/docs"
_SCRIPT, _STYLE = "docs/swagger-ui-bundle.js", "docs/swagger-ui.css"
# Every path that a browser requests for the page.
PATHS = frozenset({_PAGE, f"/{_SCRIPT}", f"/{_STYLE}", "/openapi.json"})
_NO_ICON = "data:,"
_FILES = files("fastapi_offline") / "static"


def add(app: FastAPI) -> None:
    """Add the page and its files to `app`."""

    @app.get(_PAGE, include_in_schema=False)
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=_SCRIPT,
            swagger_css_url=_STYLE,
            swagger_favicon_url=_NO_ICON,
        )

    for path in (_SCRIPT, _STYLE):
        app.add_route(f"/{path}", partial(_send_file, str(_FILES / path.removeprefix("docs/"))))


async def _send_file(path: str, request: Request) -> FileResponse:
    return FileResponse(path)
