"""The schema beside the sample configuration is the one that `fig schema` prints."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.config.schema import schema

CONFIG = Path(__file__).parents[2] / "config"


def test_the_schema_that_editors_read_is_the_current_one() -> None:
    assert json.loads((CONFIG / "schema.json").read_text()) == schema(), "run `fig schema > config/schema.json`"


def test_the_sample_configuration_names_it() -> None:
    assert (CONFIG / "proxy.yaml").read_text().startswith("# yaml-language-server: $schema=./schema.json\n")
