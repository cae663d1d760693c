from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.config.model import RouteConfig, SeamConfig, Settings, Stage, split_address, split_endpoint


def seam(stage: Stage | None = None, percent: float | None = None) -> SeamConfig:
    return SeamConfig(routes=(RouteConfig(path="/a"),), stage=stage, percent=percent)


@pytest.mark.parametrize(
    ("stage", "percent", "effective"),
    [
        (None, None, ("legacy", 0.0)),
        (None, 0, ("canary", 0.0)),
        (None, 12.5, ("canary", 12.5)),
        ("legacy", None, ("legacy", 0.0)),
        ("shadow", None, ("shadow", 0.0)),
        ("canary", 100, ("canary", 100.0)),
        ("extracted", None, ("extracted", 100.0)),
        ("retired", None, ("retired", 100.0)),
    ],
)
def test_stage_and_percent_declare_the_share_of_the_extracted_side(
    stage: Stage | None, percent: float | None, effective: tuple[Stage, float]
) -> None:
    declared = seam(stage, percent)
    assert (declared.declared_stage, declared.declared_percent) == effective


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("fig.internal:65535", ("fig.internal", 65535)),
    ],
)
def test_an_address_splits_into_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "a", "a:", "a:65536", "::1:80", "a:8 0", "http://a:1", "a:١", "a:1\n"]
)
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not HOST:PORT"):
        split_address(text)


def test_an_endpoint_splits_into_host_and_port() -> None:
    assert split_endpoint("http://[::1]:8101") == ("::1", 8101)
    assert split_endpoint("HTTP://Catalog:80") == ("Catalog", 80)
    assert split_endpoint("https://catalog:443") == ("catalog", 443)


@pytest.mark.parametrize(
    "url", ["ftp://a:1", "https://a", "a:1", "http://a", "http://a:0", "http://a:1/", "http://u@a:1"]
)
def test_what_is_not_a_plain_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        split_endpoint(url)


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings(version=1)
    server = settings.server
    assert (server.address, settings.admin.address) == (("127.0.0.1", 8080), ("127.0.0.1", 9901))
    assert (server.timeouts.head_s, server.timeouts.body_s, server.timeouts.write_s) == (10, 30, 30)
    assert (server.timeouts.keepalive_s, server.drain.delay_s, server.drain.timeout_s) == (75, 0, 30)
    assert server.limits.model_dump() == {
        "max_head_bytes": 65536,
        "max_headers": 100,
        "max_body_bytes": None,
        "max_connections": 20000,
    }
    assert (settings.store, settings.telemetry.access_log, settings.admin.token) == ("sqlite:var/fig.db", "json", "")
    assert (settings.default, settings.policy.max_active_seams, seam().deadline_s) == (None, None, 60)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings(version=1).default = "elsewhere"  # type: ignore[misc]


def test_the_admin_token_does_not_show_in_a_representation() -> None:
    settings = Settings.model_validate({"version": 1, "admin": {"token": "s3cret"}})
    assert "s3cret" not in repr(settings)
