"""A frontend's files at the paths outside /api, from the folder of FRONTEND_DIR and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from wsgi_client import Client

from service.config import Settings
from service.errors import BadRequest
from service.web import app as web

PAGE = b"<!doctype html><title>Hall of Shame</title>"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NOT_FOUND = {"error": "Not Found", "message": "The requested resource was not found"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A frontend, with a secret beside it and some inside it."""
    files = {
        "site/index.html": PAGE,
        "site/park-detail.html": b"<p>park</p>",
        "site/js/app.js": b"go()",
        "site/js/components/charts.js": b"draw()",
        "site/css/style.css": b"p { color: red }",
        "site/data.json": b"{}",
        "site/logo.svg": b"<svg/>",
        "site/logo.png": b"\x89PNG",
        "site/strange.xyzzy": b"?",
        "site/packed.js.gz": b"\x1f\x8b",
        "site/docs/index.html": b"<p>docs</p>",
        "site/empty/none.txt": b"",
        "site/.env": b"SECRET=1",
        "site/.git/config": b"secret",
        "site/js/.hidden.js": b"secret",
        "site/api/health": b"a file cannot stand in for the API",
        "site/caf\u00e9.html": b"<p>caf\xc3\xa9</p>",
        "secret.txt": b"secret",
        "site2/index.html": b"secret",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    site = tmp_path / "site"
    (site / "out.txt").symlink_to(tmp_path / "secret.txt")
    (site / "outside").symlink_to(tmp_path)
    (site / "neighbour").symlink_to(tmp_path / "site2")
    (site / "env.txt").symlink_to(site / ".env")
    (site / "circle").symlink_to(site / "circle")
    (site / "home.html").symlink_to(site / "index.html")
    os.mkfifo(site / "pipe")
    return site


@pytest.fixture
def client(folder: Path) -> Client:
    return Client(web.create_app(Settings(frontend_dir=folder)))


def test_start_page(client: Client) -> None:
    for accept in (BROWSER, "*/*", "text/html", f"{BROWSER},application/json", ""):
        response = client.get("/", accept=accept)
        assert (response.status, response.body) == (200, PAGE)
        assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/").body == PAGE


def test_root_of_the_api_for_those_who_want_json(client: Client) -> None:
    for accept in ("application/json", "application/json, text/plain, */*", "Application/JSON"):
        assert client.get("/", accept=accept).json["name"] == "Theme Park Downtime Tracker API"


@pytest.mark.parametrize(("path", "body", "kind"), [
    ("/index.html", PAGE, "text/html; charset=UTF-8"),
    ("/park-detail.html?id=7&period=today", b"<p>park</p>", "text/html; charset=UTF-8"),
    ("/js/app.js", b"go()", "javascript; charset=UTF-8"),
    ("/js/components/charts.js", b"draw()", "javascript; charset=UTF-8"),
    ("/css/style.css", b"p { color: red }", "text/css; charset=UTF-8"),
    ("/data.json", b"{}", "application/json"),
    ("/logo.svg", b"<svg/>", "image/svg+xml"),
    ("/logo.png", b"\x89PNG", "image/png"),
    ("/strange.xyzzy", b"?", "application/octet-stream"),
    ("/packed.js.gz", b"\x1f\x8b", "application/octet-stream"),
    ("/docs/", b"<p>docs</p>", "text/html; charset=UTF-8"),
    ("/empty/none.txt", b"", "text/plain; charset=UTF-8"),
    ("/home.html", PAGE, "text/html; charset=UTF-8"),
    ("/caf\u00e9.html".encode().decode("latin-1"), b"<p>caf\xc3\xa9</p>", "text/html; charset=UTF-8"),
])
def test_file(client: Client, path: str, body: bytes, kind: str) -> None:
    response = client.get(path)
    assert (response.status, response.body) == (200, body)
    assert response.headers["Content-Type"].endswith(kind)
    assert response.headers["Content-Length"] == str(len(body))
    head = client.request("HEAD", path)
    assert (head.status, head.headers, head.body) == (200, response.headers, b"")


@pytest.mark.parametrize("path", [
    "/nothing", "/js", "/js/", "/docs", "/empty", "/js/app.js/", "/index.html/", "/index.html/x", "/favicon.ico",
    "/.env", "/.git/config", "/js/.hidden.js", "/env.txt", "/.", "/..", "/./index.html", "/js/./app.js",
    "/../secret.txt", "/js/../index.html", "/js/../../secret.txt", "/..%2fsecret.txt", "/....//secret.txt",
    "/out.txt", "/outside/secret.txt", "/outside/", "/neighbour/", "/neighbour/index.html", "/../site2/index.html",
    "//index.html", "//etc/passwd", "/js//app.js", "/index.html\0", "/index.html\0.png", "/\\..\\secret.txt",
    "/pipe", "/circle", "/circle/x", "/" + "x" * 300, "/" + "x/" * 1000, "/INDEX.HTML", "/apix",
])
def test_everything_else_is_not_found(client: Client, path: str) -> None:
    for response in (client.get(path), client.get(path, accept=BROWSER)):
        assert response.status == 404
        assert response.json == NOT_FOUND
        assert b"secret" not in response.body.lower().replace(b"secret.txt", b"")


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/health/", "/api/../index.html", "/api/parks"])
def test_unknown_path_of_the_api_is_the_apis(client: Client, path: str) -> None:
    for method in ("GET", "POST"):
        response = client.request(method, path)
        assert (response.status, response.json) == (404, NOT_FOUND)
        assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_api_is_where_it_was(client: Client) -> None:
    assert client.get("/api/openapi.json").json["openapi"].startswith("3.1")
    assert client.get("/api/parks/downtime?period=x").status == 400
    assert client.request("DELETE", "/api/health").headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_only_read(client: Client, method: str) -> None:
    response = client.request(method, "/index.html")
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert response.json["error"] == "Method Not Allowed"


def test_path_that_is_not_utf8(client: Client) -> None:
    assert client.get("/index.html\xff").status == 400


# --- what a client has already ---------------------------------------------------------------------------------------


def test_client_that_has_the_file_is_not_sent_it_again(client: Client) -> None:
    first = client.get("/js/app.js")
    tag, date = first.headers["Etag"], first.headers["Last-Modified"]
    assert tag[0] == tag[-1] == '"' and date.endswith("GMT")
    assert first.headers["Cache-Control"] == "no-cache"
    for known in ({"if_none_match": tag}, {"if_none_match": f'"other", W/{tag}'}, {"if_none_match": "*"},
                  {"if_modified_since": date}):
        response = client.get("/js/app.js", **known)
        assert (response.status, response.body) == (304, b"")
        assert response.headers["Etag"] == tag


def test_changed_file_is_sent_whatever_its_date(client: Client, folder: Path) -> None:
    first = client.get("/js/app.js").headers
    (folder / "js/app.js").write_bytes(b"went")
    os.utime(folder / "js/app.js", (1, 1))  # older than the one before, as when a release is taken back
    known = {"if_none_match": first["Etag"], "if_modified_since": first["Last-Modified"]}
    response = client.get("/js/app.js", **known)
    assert (response.status, response.body) == (200, b"went")
    assert response.headers["Etag"] != first["Etag"]


def test_part_of_a_file(client: Client) -> None:
    response = client.get("/css/style.css", range="bytes=4-8")
    assert (response.status, response.body) == (206, b"color")
    tag = response.headers["Etag"]
    assert client.get("/css/style.css", range="bytes=4-8", if_range=tag).status == 206
    assert client.get("/css/style.css", range="bytes=4-8", if_range='"older"').status == 200
    assert client.get("/css/style.css", range="bytes=99-").status == 416


# --- the setting -----------------------------------------------------------------------------------------------------


def test_folder_that_is_not_there_is_said_at_once(folder: Path) -> None:
    for missing in (folder / "nothing", folder / "index.html"):
        with pytest.raises(BadRequest, match="FRONTEND_DIR=.* is not a folder"):
            web.create_app(Settings(frontend_dir=missing))


def test_folder_may_be_relative_and_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "current").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    assert Client(web.create_app(Settings(frontend_dir=Path("current")))).get("/").body == PAGE


def test_without_the_setting_there_are_no_files() -> None:
    client = Client(web.create_app(Settings()))
    assert client.get("/", accept=BROWSER).json["status"] == "running"
    assert client.get("/index.html").json == NOT_FOUND
