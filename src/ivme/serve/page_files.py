"""The page's files over HTTP: one HTML file, its styles, its modules.

Owns what browsers are told about them: types, caching, and the policy that keeps the page from
running anything but its own files. Knows nothing of models.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, HTTPException, Request, Response

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Own files only: no inline script or style, no other host, no frame, no HTML made from strings."""

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """One file of the page as it is sent."""

    content: bytes
    media_type: str
    etag: str

    def respond(self, request: Request) -> Response:
        """Return the file, or 304 with no body when the browser already has it."""
        headers = {
            "ETag": self.etag,
            # Names carry no version, so a browser asks each time; the tag makes the answer empty.
            "Cache-Control": "no-cache",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if _names_tag(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def page_routes() -> APIRouter:
    """Return the routes `/` and `/page/NAME`; the files are read once, here."""
    pages = _read_files()
    router = APIRouter(include_in_schema=False)

    async def index(request: Request) -> Response:
        return pages[_INDEX].respond(request)

    async def page_file(name: str, request: Request) -> Response:
        if name not in pages:
            raise HTTPException(404, f"no file {name!r} belongs to the page. It opens at `/`.")
        return pages[name].respond(request)

    router.add_api_route("/", index, methods=["GET", "HEAD"])
    router.add_api_route("/page/{name}", page_file, methods=["GET", "HEAD"])
    return router


def _read_files() -> dict[str, PageFile]:
    folder = files("ivme.serve").joinpath("page")
    return {
        entry.name: _page_file(entry.name, entry.read_bytes())
        for entry in folder.iterdir()
        if PurePosixPath(entry.name).suffix in _MEDIA_TYPES
    }


def _page_file(name: str, content: bytes) -> PageFile:
    return PageFile(
        content=content,
        media_type=_MEDIA_TYPES[PurePosixPath(name).suffix],
        etag=f'"{hashlib.sha256(content).hexdigest()[:20]}"',
    )


def _names_tag(if_none_match: str, etag: str) -> bool:
    # A proxy that compresses marks tags as weak: for 304 the weak comparison is the right one.
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
