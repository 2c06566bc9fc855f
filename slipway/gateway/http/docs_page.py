"""The page at /docs: Swagger UI, whose files come with a package, so that it needs no network; for `app`."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

PAGE = "/docs"
_SCRIPT, _STYLE = f"{PAGE}/swagger-ui-bundle.js", f"{PAGE}/swagger-ui.css"
# All that a browser asks for to show it.
PATHS = frozenset({PAGE, _SCRIPT, _STYLE, "/openapi.json"})
_NO_ICON = "data:,"


def add(app: FastAPI) -> None:
    """Give `app` the page and its files."""
    static = files("fastapi_offline") / "static"

    @app.get(PAGE, include_in_schema=False)
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=_SCRIPT.removeprefix("/"),
            swagger_css_url=_STYLE.removeprefix("/"),
            swagger_favicon_url=_NO_ICON,
        )

    @app.get(_SCRIPT, include_in_schema=False)
    async def script() -> FileResponse:
        return FileResponse(str(static / "swagger-ui-bundle.js"))

    @app.get(_STYLE, include_in_schema=False)
    async def style() -> FileResponse:
        return FileResponse(str(static / "swagger-ui.css"))
