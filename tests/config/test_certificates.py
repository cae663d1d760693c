"""What `fig validate` says about certificates before anybody connects."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.config.load import Loaded, load
from proxy.errors import ConfigError
from tests.support.tls import Authority

BASE = "version: 1\nupstreams: {a: {endpoints: ['https://a:1']}}\ndefault: a\n"
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates"))
    made.issue("good")
    made.issue("other")
    made.issue("expired", not_after=PAST)
    folder = made.folder
    (folder / "empty.pem").write_text("")
    (folder / "noise.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n\xff\xfe!!\n-----END CERTIFICATE-----\n")
    (folder / "folder.pem").mkdir()
    key = load_pem_private_key((folder / "good.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "locked.key").write_bytes(locked)
    return made


def loaded(folder: Path, text: str) -> Loaded:
    path = folder / "fig.yaml"
    path.write_text(text)
    return load(path, {})


def codes(folder: Path, text: str) -> list[str]:
    """`LINE:COLUMN CODE message` of each problem, the folder left out of messages."""
    try:
        problems = loaded(folder, text).warnings
    except ConfigError as error:
        problems = error.problems
    return [f"{problem.line} {problem.code} {problem.message}".replace(f"{folder}/", "") for problem in problems]


@pytest.mark.parametrize(
    ("certificate", "key", "expected"),
    [
        ("good.pem", "good.key", ""),
        ("missing.pem", "good.key", "6 FIG121 cannot read missing.pem: No such file or directory"),
        ("good.pem", "missing.key", "7 FIG121 cannot read missing.key: No such file or directory"),
        ("folder.pem", "good.key", "6 FIG121 cannot read folder.pem: not a regular file"),
        ("empty.pem", "good.key", "6 FIG122 empty.pem holds no certificate in PEM"),
        ("noise.pem", "good.key", "6 FIG122 noise.pem holds no certificate in PEM"),
        ("good.key", "good.key", "6 FIG122 good.key holds no certificate in PEM"),
        ("good.pem", "empty.pem", "7 FIG122 empty.pem holds no private key in PEM"),
        ("good.pem", "good.pem", "7 FIG122 good.pem holds no private key in PEM"),
        ("good.pem", "locked.key", "7 FIG122 locked.key has a passphrase: write it without one"),
        ("good.pem", "other.key", "7 FIG123 other.key is not the key of good.pem"),
        ("expired.pem", "expired.key", "6 FIG124 expired.pem has expired: clients refuse it"),
    ],
)
def test_a_server_certificate(authority: Authority, certificate: str, key: str, expected: str) -> None:
    text = f"{BASE}server:\n  tls:\n    certificate: {certificate}\n    key: {key}\n"
    problems = codes(authority.folder, text)
    assert len(problems) == bool(expected)
    assert not expected or problems[0].startswith(expected)


@pytest.mark.parametrize(
    ("ca", "expected"),
    [
        ("ca.pem", ""),
        ("missing.pem", "FIG121 cannot read missing.pem"),
        ("good.key", "FIG122 good.key holds no CA certificate in PEM"),
    ],
)
def test_the_ca_of_an_upstream(authority: Authority, ca: str, expected: str) -> None:
    text = f"version: 1\nupstreams:\n  a:\n    endpoints: ['https://a:1']\n    tls: {{ca: {ca}}}\n"
    problems = codes(authority.folder, text)
    assert len(problems) == bool(expected)
    assert not expected or problems[0].startswith(f"5 {expected}")


def test_paths_count_from_the_folder_and_the_files_take_part(authority: Authority) -> None:
    folder = authority.folder
    text = f"{BASE.replace('}}', ', tls: {ca: ca.pem}}}')}server: {{tls: {{certificate: good.pem, key: good.key}}}}\n"
    made = loaded(folder, text)
    tls, upstream = made.settings.server.tls, made.settings.upstreams["a"].tls
    assert tls is not None
    assert upstream is not None
    assert (tls.certificate, tls.key) == (str(folder / "good.pem"), str(folder / "good.key"))
    assert upstream.ca == str(folder / "ca.pem")
    assert {folder / "good.pem", folder / "good.key", folder / "ca.pem"} <= set(made.files)


def test_a_missing_key_is_told_once(authority: Authority) -> None:
    problems = codes(authority.folder, f"{BASE}server: {{tls: {{certificate: good.pem}}}}\n")
    assert [problem.split(" ")[1] for problem in problems] == ["FIG008"]
