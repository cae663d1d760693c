from __future__ import annotations

from pathlib import Path
from typing import Any

from proxy.admin.config_view import config_document
from proxy.config.load import load
from tests.support.admin import CONFIG


def document(folder: Path, text: str, **environ: str) -> dict[str, object]:
    path = folder / "fig.yaml"
    path.write_text(text)
    return config_document(load(path, environ).settings)


def test_configurations_that_mean_the_same_look_the_same(tmp_path: Path) -> None:
    implied = document(tmp_path, CONFIG.replace("    stage: canary\n", ""))
    spelled = document(
        tmp_path, CONFIG.replace("extracted: catalog\n  pages", "extracted: catalog\n    stage: legacy\n  pages")
    )
    assert implied == spelled == document(tmp_path, CONFIG)


def test_what_is_shown_is_a_configuration_again(tmp_path: Path) -> None:
    import json

    shown = document(tmp_path, CONFIG)
    assert document(tmp_path, json.dumps(shown)) == shown


def test_a_token_is_masked_and_its_absence_shown(tmp_path: Path) -> None:
    assert '"token": "***"' in str(document(tmp_path, CONFIG, FIG_ADMIN_TOKEN="hush-hush-hush")).replace("'", '"')
    assert "hush" not in str(document(tmp_path, CONFIG, FIG_ADMIN_TOKEN="hush-hush-hush"))
    assert "***" not in str(document(tmp_path, CONFIG))


def test_the_secrets_of_a_registry_and_a_webhook_are_masked(tmp_path: Path) -> None:
    registry = "{registry: 'http://r:8500', service: catalog, token: '${CONSUL:-}'}"
    text = CONFIG.replace("{endpoints: [http://127.0.0.1:2]", f"{{endpoints: {registry}")
    text += "telemetry: {webhook: {url: 'https://chat.example/hooks/${HOOK}'}}\n"
    shown: Any = document(tmp_path, text, CONSUL="hush-hush-hush", HOOK="hushed")
    assert "hush" not in str(shown)
    assert shown["upstreams"]["catalog"]["endpoints"]["token"] == "***"
    assert shown["upstreams"]["catalog"]["endpoints"]["registry"] == "http://r:8500"
    assert shown["telemetry"]["webhook"] == {"url": "***", "timeout_s": 2, "retries": 3, "max_queue": 100}
    without: Any = document(tmp_path, text, HOOK="hushed")
    assert without["upstreams"]["catalog"]["endpoints"]["token"] == ""


def test_the_secrets_of_the_door_are_masked(tmp_path: Path) -> None:
    digest = "0123456789abcdef" * 4
    text = CONFIG + (
        f"auth:\n  api_keys: {{keys: {{partner-a: {{sha256: '{digest}', scopes: ['catalog:read']}}}}}}\n"
        "  session: {cookie: SHOPSESSID, upstream: monolith, token: '${ASK:-}'}\n"
        "  identity: {subject: x-user-id, token: {issuer: 'https://fig.test', audience: shop}}\n"
        "rate_limits: {store: 'redis://fig:${REDIS}@10.0.0.9:6379/0'}\n"
    )
    shown: Any = document(tmp_path, text, ASK="hush-hush-hush", REDIS="hushed")
    assert "hush" not in str(shown)
    assert digest not in str(shown)
    assert shown["auth"]["api_keys"]["keys"]["partner-a"] == {
        "sha256": "***",
        "scopes": ["catalog:read"],
        "rate_limit": [],
    }
    assert shown["auth"]["session"]["token"] == "***"
    assert shown["rate_limits"]["store"] == "redis://fig:***@10.0.0.9:6379/0"
    without: Any = document(tmp_path, text, REDIS="hushed")
    assert without["auth"]["session"]["token"] == ""


def test_credentials_of_shadow_calls_are_masked_but_for_their_names(tmp_path: Path) -> None:
    def credentials(written: str) -> Any:
        text = CONFIG.replace("    extracted: catalog\n", f"    extracted: catalog\n    shadow: {{{written}}}\n", 1)
        shown: Any = document(tmp_path, text, TOKEN="hush-hush")
        assert "hush" not in str(shown)
        return shown["seams"]["catalog"]["shadow"]["credentials"]

    values = "Authorization: 'Bearer ${TOKEN}', x-api-key: hushed"
    assert credentials(f"credentials: {{{values}}}") == {"Authorization": "***", "x-api-key": "***"}
    assert credentials("credentials: drop") == "drop"
    assert credentials("") == "pass"


def test_a_breaker_and_a_fallback_that_nobody_wrote_are_shown(tmp_path: Path) -> None:
    written = "    extracted: catalog\n    breaker: {}\n    fallback: legacy\n    rewrite"
    shown: Any = document(tmp_path, CONFIG)
    assert shown == document(tmp_path, CONFIG.replace("    extracted: catalog\n    rewrite", written))
    assert shown["seams"]["catalog"]["breaker"]["failures"] == 5
    assert shown["seams"]["catalog"]["fallback"]["to"] == "legacy"
    assert shown["seams"]["catalog"]["legacy_breaker"] is None
    pages = shown["seams"]["pages"]  # has no extracted side
    assert (pages["breaker"], pages["fallback"]) == (None, None)


def test_the_fallback_of_a_route_is_shown_as_it_applies(tmp_path: Path) -> None:
    def route(fallback: str, stage: str = "canary\n    percent: 25") -> Any:
        text = CONFIG.replace("query: {mode: full}", f"fallback: {fallback}").replace("canary\n    percent: 25", stage)
        shown: Any = document(tmp_path, text)
        return shown["seams"]["catalog"]["routes"][1]["fallback"]

    assert route("{}") == route("legacy") == route("{to: legacy}")
    assert route("none")["to"] == "none"
    assert route("{static: {}}")["to"] is None
    assert route("{}", "retired")["to"] is None
    assert route("null") is None
