"""Who may ask, and how often: API keys for what is posted, limits a clock hour and a Pacific day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from wsgi_client import Client, Response

from service import clock, config
from service.config import Settings
from service.errors import BadRequest
from service.web import access
from service.web import app as web
from service.web.access import Access
from service.web.params import Query, Refused, Request

NOW = datetime(2025, 5, 18, 15, 20, tzinfo=UTC)  # 08:20 in Los Angeles
COMMAND = "/api/echo"
QUESTION = "/api/search/index"


@pytest.fixture
def serve(database: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An API over an empty database, with settings of the test's own and one more command."""
    monkeypatch.setitem(web.COMMANDS, COMMAND, lambda request: lambda: {"success": True})
    clock.replay(NOW)

    def with_settings(**own: Any) -> Client:
        return Client(web.create_app(Settings(settings.database_url, **own)))

    return with_settings


def post(client: Client, **headers: str) -> Response:
    return client.post(COMMAND, {}, **headers)


# --- keys ------------------------------------------------------------------------------------------------------------


def test_without_keys_everybody_may_post(serve: Any) -> None:
    assert post(serve()).status == 200
    assert post(serve(), x_api_key="anything").status == 200


def test_with_keys_a_command_needs_one_of_them(serve: Any) -> None:
    client = serve(api_keys=("first", "Second"))
    assert post(client, x_api_key="first").status == 200
    assert post(client, x_api_key="Second").status == 200
    for path in (COMMAND, "/api/audit/run", "/api/audit/verify"):
        response = client.post(path, {})
        assert response.status == 401
        assert response.json == {"error": "Unauthorized", "message": "Missing X-API-Key header"}
        assert response.headers["Www-Authenticate"]
        assert client.post(path, {}, x_api_key="").json["message"] == "Missing X-API-Key header"


@pytest.mark.parametrize("sent", ["FIRST", "second", "firs", "first ", "first,Second", "f\xefrst", "\u00e9"])
def test_any_other_key_is_refused(serve: Any, sent: str) -> None:
    response = post(serve(api_keys=("first", "Second")), x_api_key=sent)
    assert response.status == 401
    assert response.json == {"error": "Unauthorized", "message": "Invalid API key"}


def test_key_is_looked_at_before_the_body(serve: Any) -> None:
    assert serve(api_keys=("first",)).post("/api/audit/run", b"x" * 200_000).status == 401


def test_questions_need_no_key(serve: Any) -> None:
    client = serve(api_keys=("first",))
    for path in ("/", "/api/health", "/api/openapi.json", "/api/parks/downtime", "/api/audit/status"):
        assert client.get(path).status == 200
        assert client.get(path, x_api_key="wrong").status == 200
    assert client.request("OPTIONS", COMMAND).status == 200


def test_key_may_have_any_character(serve: Any) -> None:
    sent = "schl\u00fcssel".encode().decode("latin-1")  # as WSGI gives the bytes of a header
    assert post(serve(api_keys=("schl\u00fcssel",)), x_api_key=sent).status == 200


def test_keys_do_not_show() -> None:
    assert "hush" not in repr(Settings(api_keys=("hush",)))


# --- limits ----------------------------------------------------------------------------------------------------------


def at(client: Client, when: datetime, path: str = QUESTION, **headers: str) -> int:
    clock.replay(when)
    return client.get(path, **headers).status


def test_without_limits_nothing_is_counted(serve: Any) -> None:
    client = serve()
    assert {client.get(QUESTION).status for _ in range(30)} == {200}


def test_so_many_in_a_clock_hour(serve: Any) -> None:
    client = serve(api_rate_limit_per_hour=2)
    assert [at(client, NOW) for _ in range(4)] == [200, 200, 429, 429]
    response = client.get(QUESTION)
    assert response.json == {"error": "Too Many Requests", "message": "Hourly rate limit exceeded (2 req/hour)"}
    assert response.headers["Retry-After"] == "2400"  # 15:20 to 16:00
    assert at(client, NOW + timedelta(minutes=39, seconds=59)) == 429
    assert client.get(QUESTION).headers["Retry-After"] == "1"
    assert [at(client, NOW + timedelta(minutes=40)) for _ in range(3)] == [200, 200, 429]


def test_so_many_in_a_pacific_day(serve: Any) -> None:
    client = serve(api_rate_limit_per_day=2)
    assert [at(client, NOW) for _ in range(3)] == [200, 200, 429]
    response = client.get(QUESTION)
    assert response.json == {"error": "Too Many Requests", "message": "Daily rate limit exceeded (2 req/day)"}
    assert response.headers["Retry-After"] == str((15 * 60 + 40) * 60)  # 08:20 to midnight in Los Angeles
    assert at(client, datetime(2025, 5, 19, 6, 59, 59, tzinfo=UTC)) == 429
    assert at(client, datetime(2025, 5, 19, 7, 0, tzinfo=UTC)) == 200


def test_only_accepted_requests_count(serve: Any) -> None:
    client = serve(api_rate_limit_per_hour=1, api_rate_limit_per_day=2)
    assert [at(client, NOW) for _ in range(9)] == [200] + [429] * 8
    later = NOW + timedelta(hours=1)
    assert [at(client, later) for _ in range(2)] == [200, 429]
    assert "Hourly" in client.get(QUESTION).json["message"]
    assert at(client, NOW + timedelta(hours=2)) == 429
    assert "Daily" in client.get(QUESTION).json["message"]


def test_request_without_the_key_is_not_counted(serve: Any) -> None:
    client = serve(api_keys=("first",), api_rate_limit_per_hour=1)
    assert [post(client).status for _ in range(3)] == [401, 401, 401]
    assert client.get(QUESTION).status == 200


def test_each_address_has_its_own_count(serve: Any) -> None:
    client = serve(api_rate_limit_per_hour=1)
    for address in ("10.0.0.1", "10.0.0.2", "::1"):
        assert [at(client, NOW, remote_addr=address) for _ in range(2)] == [200, 429]


def test_each_key_has_its_own_count_wherever_it_comes_from(serve: Any) -> None:
    client = serve(api_rate_limit_per_hour=1, api_keys=("a", "b"))
    assert at(client, NOW, x_api_key="a", remote_addr="10.0.0.1") == 200
    assert at(client, NOW, x_api_key="a", remote_addr="10.0.0.2") == 429
    assert at(client, NOW, x_api_key="b", remote_addr="10.0.0.1") == 200
    assert at(client, NOW, remote_addr="10.0.0.1") == 200
    assert at(client, NOW, remote_addr="10.0.0.1") == 429


@pytest.mark.parametrize("keys", [(), ("a",)], ids=["no keys", "a key"])
def test_an_unknown_key_does_not_make_another_client(serve: Any, keys: tuple[str, ...]) -> None:
    client = serve(api_rate_limit_per_hour=1, api_keys=keys)
    assert [at(client, NOW, x_api_key=key) for key in ("x", "y", "z")] == [200, 429, 429]
    assert at(client, NOW, x_api_key="x", remote_addr="10.0.0.2") == 200


def test_key_is_not_taken_for_an_address(serve: Any) -> None:
    client = serve(api_rate_limit_per_hour=1, api_keys=("10.0.0.1",))
    assert at(client, NOW, remote_addr="10.0.0.1") == 200
    assert at(client, NOW, x_api_key="10.0.0.1", remote_addr="10.0.0.9") == 200


def test_health_the_root_and_preflights_are_never_refused(serve: Any) -> None:
    client = serve(api_rate_limit_per_hour=1)
    assert [at(client, NOW) for _ in range(2)] == [200, 429]
    for path in ("/", "/api/health"):
        assert {at(client, NOW, path) for _ in range(5)} == {200}
    assert client.request("OPTIONS", QUESTION).status == 200
    assert at(client, NOW, "/api/openapi.json") == 429
    assert post(client).status == 429


def test_memory_for_counts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_CLIENTS", 3)
    guarded = Access(Settings(api_rate_limit_per_hour=1))
    asked = guarded.limited(lambda request: (200, {}))

    def ask(address: str) -> int:
        try:
            return asked(Request(Settings(), NOW, Query(""), {}, {"REMOTE_ADDR": address}))[0]
        except Refused as refused:
            return refused.status

    assert [ask(address) for address in ("a", "b", "c", "c", "a")] == [200, 200, 200, 429, 429]
    assert ask("d") == 200  # the first one seen is forgotten for it
    assert [ask(address) for address in ("b", "c", "d", "a")] == [429, 429, 429, 200]
    assert [len(limit._counts) for limit in guarded._limits] == [3]


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_off_unless_they_are_set() -> None:
    found = config.load({"API_KEYS": "  ", "API_RATE_LIMIT_PER_HOUR": "", "FRONTEND_DIR": ""})
    assert (found.api_keys, found.api_rate_limit_per_hour, found.api_rate_limit_per_day) == ((), 0, 0)
    assert found.frontend_dir is None


def test_keys_are_trimmed() -> None:
    assert config.load({"API_KEYS": " first ,Second,, third key "}).api_keys == ("first", "Second", "third key")


def test_keys_that_name_nothing_do_not_leave_the_door_open() -> None:
    with pytest.raises(BadRequest, match="API_KEYS=', ,' names nothing"):
        config.load({"API_KEYS": ", ,"})
