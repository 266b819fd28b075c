"""Who may use a server: names, tokens, origins, paths; and what every answer says to the browser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette is not installed (pip install 'volengine[web]')")

from asking import Client, entered
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from volengine.core.errors import ChangedError, FormatError, InputError, MissingError
from volengine.web.app import VIEWER, make_app
from volengine.web.guard import Gate, Guard, base_path_of
from volengine.web.recipe import ServeRecipe
from volengine.web.serve import gate_of

GATE = Gate(token="secret", number="7")
SAME = {"sec-fetch-site": "same-origin"}
ERRORS = {"missing": MissingError, "changed": ChangedError, "format": FormatError}


def _hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def _kept(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def _failing(request: Request) -> Response:
    raise ERRORS[request.path_params["kind"]]("what and where")


def _app(gate: Gate = GATE) -> Guard:
    routes = [
        Route("/api/hello", _hello),
        Route("/api/kept", _kept, methods=["POST"]),
        Route("/api/fails/{kind}", _failing),
    ]
    return make_app(gate, routes, page="view.html")


def _client(gate: Gate = GATE) -> Client:
    return entered(_app(gate))


def _stranger(gate: Gate = GATE) -> Client:
    return Client(_app(gate), {"host": "localhost:8000"})


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:80", "[::1]:8000", "LOCALHOST", "localhost."])
def test_the_loopback_names_are_the_servers_own_at_any_port(host: str) -> None:
    assert _client().get("/api/hello", host=host).text == "hello"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "", "a b", "localhost@evil", "[::1"],
)
def test_other_names_are_refused_before_anything_is_looked_at(host: str) -> None:
    for path in ("/", "/api/hello", "/?token=secret"):
        answer = _client().get(path, host=host)
        assert (answer.status, "set-cookie" in answer.headers) == (421, False)


def test_names_of_a_proxy_are_allowed_when_they_are_given() -> None:
    gate = gate_of(ServeRecipe(allow_host=("ondemand.example.org",)))
    assert gate.knows("ondemand.example.org")
    assert not gate.knows("example.org")
    beyond = gate_of(ServeRecipe(host="0.0.0.0", insecure=True))
    assert beyond.knows("10.0.0.1:8000")
    assert not beyond.knows("evil.example")


# -- tokens ------------------------------------------------------------------------------------------------


def test_the_token_of_the_link_becomes_a_cookie_and_leaves_the_address() -> None:
    client = _stranger()
    answer = client.get("/?token=secret&pictures=1")
    assert (answer.status, answer.headers["location"]) == (303, "./?pictures=1")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("volengine-7=")
    assert "secret" not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    entered_so = cookie.partition(";")[0]
    assert client.get("/api/hello", cookie=entered_so).text == "hello"


def test_over_tls_the_cookie_is_not_sent_in_the_open() -> None:
    assert "Secure" in Gate(secure=True).cookie()
    assert "Secure" not in Gate().cookie()


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=secret&token=wrong", "?Token=secret"])
def test_without_the_token_nothing_is_served(query: str) -> None:
    client = _stranger()
    for path in ("/", "/api/hello", "/view.js", "/nothing", f"{VIEWER}/index.html"):
        assert client.get(path + query).status == 403


def test_cookies_of_other_servers_on_the_machine_open_nothing_and_disturb_nothing() -> None:
    other = Gate(token="secret", number="8")
    client = _stranger()
    assert client.get("/api/hello", cookie=f"volengine-7={other.token}").status == 403
    assert client.get("/api/hello", cookie=f"{other.cookie_name}={other.cookie_value}").status == 403
    both = f"broken[=\x7f; {other.cookie_name}=x; {GATE.cookie_name}={GATE.cookie_value}"
    assert client.get("/api/hello", cookie=both).text == "hello"


def test_each_server_has_a_token_of_its_own() -> None:
    assert len({Gate().token for _ in range(20)}) == 20
    assert min(len(Gate().token) for _ in range(20)) >= 30
    assert "secret" not in repr(GATE)


def test_a_link_on_a_page_of_elsewhere_works_by_a_second_load() -> None:
    """The browser keeps a strict cookie back behind a redirect that began elsewhere."""
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    answer = _stranger().ask("GET", "/", headers)
    assert 'http-equiv="refresh" content="0"' in answer.text
    assert answer.status == 403
    assert "refresh" not in _stranger().ask("GET", "/", SAME).text  # so it ends


# -- origins -----------------------------------------------------------------------------------------------

PROXIED = {"origin": "https://ondemand.example.org", **SAME}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (SAME, 200),
        (PROXIED, 200),  # the browser says it whatever a proxy calls the server
        ({"origin": "http://localhost:8000"}, 200),
        ({"authorization": "Bearer secret"}, 200),
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:9000"}, 403),
        ({"origin": "http://localhost:8000.evil.example"}, 403),
        ({"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
    ],
)
def test_what_changes_something_comes_from_a_page_of_the_server(headers: dict[str, str], status: int) -> None:
    assert _client().ask("POST", "/api/kept", headers, b"abc").status == status


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
        ("cross-site", "navigate", "document", 200),
        ("cross-site", "no-cors", "image", 403),
        ("same-site", "no-cors", "script", 403),  # another port of this machine
        ("cross-site", "navigate", "iframe", 403),
        ("same-site", "cors", "empty", 403),
    ],
)
def test_pages_of_others_embed_and_ask_for_nothing(site: str, mode: str, dest: str, status: int) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert _client().ask("GET", "/api/hello", headers).status == status


def test_large_bodies_and_websockets_are_refused() -> None:
    assert _client().ask("POST", "/api/kept", SAME, b"a" * 2_000_001).status == 413
    said: list[Any] = []

    async def ask() -> None:
        async def send(message: Any) -> None:
            said.append(message)

        await _app()({"type": "websocket", "path": "/api/hello", "headers": []}, lambda: None, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert [one["type"] for one in said] == ["websocket.close"]


# -- paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fguard.py",
        "/%5c..%5cguard.py",
        "/view.js%00.html",
        "/./view.js",
        "/__init__.py",
        "//etc/passwd",
        "/%252e%252e/guard.py",
        f"{VIEWER}/..%2f..%2f..%2fpages%2fview.html",
        f"{VIEWER}/%2e%2e/%2e%2e/server.py",
        f"{VIEWER}/%2fetc%2fpasswd",
    ],
)
def test_no_path_leads_out_of_the_files_of_pages(path: str) -> None:
    answer = _client().get(path)
    assert answer.status in (400, 404)
    assert "import" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("base", ["/node/c1/8000", "/user/a~b/proxy/8000"])
def test_a_proxy_may_leave_the_base_path_or_take_it_off(base: str) -> None:
    gate = Gate(token="secret", number="7", base_path=base)
    client = _client(gate)
    assert client.get(f"{base}/api/hello").text == client.get("/api/hello").text == "hello"
    assert client.get(base).headers["location"] == "8000/"  # relative, whatever the browser calls the server
    assert f"Path={base}/" in gate.cookie()
    assert client.get(f"{base}?token=secret").headers["location"] == "8000/"
    assert client.get(f"{base}x/api/hello").status == 404


def test_base_paths_are_paths() -> None:
    assert (base_path_of(""), base_path_of("/"), base_path_of("a/b/")) == ("", "", "/a/b")
    for text in ("https://a/b", "/a/../b", "/a?b", "/a b", "/a//b", "/a\\b", "/;a"):
        with pytest.raises(InputError, match="base_path"):
            base_path_of(text)


# -- answers -----------------------------------------------------------------------------------------------


def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    client = _client()
    paths = ("/", "/view.js", "/api/hello", "/nothing", "/api/fails/missing", f"{VIEWER}/")
    answers = [client.get(path) for path in paths]
    answers += [_stranger().get("/"), client.get("/", host="evil.example")]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_only_neuroglancer_may_compile_code_and_nobody_loads_from_elsewhere() -> None:
    client = _client()
    policies = {path: client.get(path).headers["content-security-policy"] for path in ("/", "/api/hello", f"{VIEWER}/")}
    assert [path for path, policy in policies.items() if "unsafe-eval" in policy] == [f"{VIEWER}/"]
    assert "script-src 'self';" in policies["/"]
    assert "trusted-types 'none'" in policies["/"]
    assert "sandbox" in policies["/api/hello"]
    for policy in policies.values():
        assert "unsafe-inline" not in policy
        assert "*" not in policy
        assert "http" not in policy
        assert "frame-ancestors" in policy


def test_pages_hold_no_code_and_no_address_of_elsewhere() -> None:
    client = _client()
    for path in ("/", f"{VIEWER}/"):
        page = client.get(path).text
        assert "http" not in page.replace("http-equiv", "")
        assert "<script>" not in page
        assert " on" + "click" not in page
    assert '<script src="before.js"></script>' in client.get(f"{VIEWER}/").text


def test_data_are_not_kept_and_named_files_of_neuroglancer_are() -> None:
    client = _client()
    assert client.get("/api/hello").headers["cache-control"] == "no-store"
    script = next(
        part for part in client.get(f"{VIEWER}/").text.split('"') if part.startswith("main.") and ".js" in part
    )
    answer = client.get(f"{VIEWER}/{script}", accept_encoding="gzip, br")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(("kind", "status"), [("missing", 404), ("changed", 409), ("format", 400)])
def test_errors_are_answers_with_their_message(kind: str, status: int) -> None:
    answer = _client().get(f"/api/fails/{kind}")
    assert (answer.status, answer.json) == (status, {"error": "what and where"})


# -- where -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"host": "0.0.0.0"}, "insecure"),
        ({"host": "machine.example.org"}, "ssh -L"),
        ({"host": "::"}, "tls_cert"),
        ({"tls_cert": "a.pem"}, "both"),
        ({"port": 70000}, "65535"),
        ({"allow_host": ("https://a",)}, "name alone"),
        ({"uds": "a.sock", "host": "0.0.0.0", "insecure": True}, "leave host away"),
    ],
)
def test_servers_beyond_the_machine_need_tls_or_a_word(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ServeRecipe(**values)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_the_loopback_needs_neither(host: str) -> None:
    assert not ServeRecipe(host=host).beyond
