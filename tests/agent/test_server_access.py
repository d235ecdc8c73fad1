"""Who may do what: keys, rights, hosts and origins."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from tests.agent.served import CHAT, Kit, body, kit
from tooln1_agent.config import ApiKey, ServeConfig
from tooln1_agent.server.auth import LOCAL, Keyring
from tooln1_agent.server.problems import ApiError

ADA, BOB, OPS = "ada-secret-key-000", "bob-secret-key-000", "ops-secret-key-000"


def keyed() -> Kit:
    digest = hashlib.sha256(BOB.encode()).hexdigest()
    keys: Any = (
        {"name": "ada", "secret": ADA, "rights": ("chat", "label")},
        {"name": "bob", "sha256": digest},
        {"name": "ops", "secret": OPS, "rights": ("admin",)},
    )
    return kit(api_keys=keys)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ADA},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {ADA}"},
        bearer("no-such-secret-key"),
        bearer(ADA[:-1]),
        bearer(f"{ADA}x"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CHAT),
        ("POST", "/v1/feedback"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/helper"),
        ("GET", "/metrics"),
    ],
)
async def test_nothing_but_health_is_open_without_a_key(
    method: str, path: str, headers: dict[str, str]
) -> None:
    async with keyed().client(**headers) as client:
        response = await client.request(method, path, json=body() if method == "POST" else None)
        health = await client.get("/healthz")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "authentication_error"
    assert health.status_code == 200


async def test_a_wrong_key_is_refused_before_the_body_is_looked_at() -> None:
    async with keyed().client() as client:
        response = await client.post(CHAT, content=b"{")
    assert response.status_code == 401


async def test_the_principal_is_the_name_of_the_key() -> None:
    made = keyed()
    async with made.client() as client:
        for key in (ADA, BOB):
            assert (await client.post(CHAT, json=body(), headers=bearer(key))).status_code == 200
    assert [kept.principal for kept in made.store.interactions()] == ["ada", "bob"]


async def test_a_right_that_was_not_given_is_refused_by_name() -> None:
    async with keyed().client() as client:
        said = await client.post("/v1/feedback", json={}, headers=bearer(BOB))
        seen = await client.get("/metrics", headers=bearer(ADA))
        allowed = await client.get("/metrics", headers=bearer(OPS))
    assert said.status_code == seen.status_code == 403
    assert "'label'" in said.json()["error"]["message"]
    assert "'metrics'" in seen.json()["error"]["message"]
    assert allowed.status_code == 200


def test_keys_that_are_no_text_are_just_wrong() -> None:
    ring = Keyring(keyed_config().api_keys)
    with pytest.raises(ApiError) as caught:
        ring.principal("Bearer \udcff\udcfe", right="chat")
    assert caught.value.status == 401


def keyed_config() -> ServeConfig:
    return ServeConfig(api_keys=(ApiKey.model_validate({"name": "ada", "secret": ADA}),))


def test_without_keys_everybody_on_this_machine_is_local() -> None:
    assert Keyring(()).principal(None, right="admin") is LOCAL


@pytest.mark.parametrize(
    "key",
    [
        {"name": "ada"},
        {"name": "ada", "secret": "short"},
        {"name": "ada", "secret": ADA, "sha256": "0" * 64},
        {"name": "ada", "sha256": "not-hex"},
        {"name": "ada", "secret": ADA, "rights": ["everything"]},
    ],
)
def test_a_key_that_cannot_work_is_refused(key: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApiKey.model_validate(key)


def test_a_secret_is_not_shown_with_its_config() -> None:
    assert ADA not in repr(keyed_config())


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", ""])
async def test_on_loopback_another_host_name_is_refused(host: str) -> None:
    async with kit().client(host=host) as client:
        response = await client.post(CHAT, json=body())
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8300", "127.0.0.1:1", "[::1]:8300"])
async def test_the_names_of_this_machine_are_served(host: str) -> None:
    async with kit().client(host=host) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_further_hosts_and_origins_can_be_allowed() -> None:
    made = kit(allowed_hosts=("box.internal",), allowed_origins=("https://app.example",))
    async with made.client(host="box.internal") as client:
        ours = await client.get("/v1/models", headers={"origin": "https://app.example"})
        other = await client.get("/v1/models", headers={"origin": "https://evil.example"})
        none = await client.get("/v1/models", headers={"origin": "null"})
        preflight = await client.options(
            CHAT,
            headers={
                "origin": "https://app.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization",
            },
        )
    assert ours.headers["access-control-allow-origin"] == "https://app.example"
    assert other.status_code == none.status_code == 403
    assert preflight.status_code == 200


async def test_beyond_loopback_any_host_name_is_served_unless_some_are_listed() -> None:
    made = kit(host="0.0.0.0", insecure=True)
    listed = kit(host="0.0.0.0", insecure=True, allowed_hosts=("api.example",))
    async with made.client(host="any.example") as client:
        assert (await client.get("/v1/models")).status_code == 200
    async with listed.client(host="any.example") as client:
        assert (await client.get("/v1/models")).status_code == 403
