from __future__ import annotations

from pathlib import Path

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
