"""What `fig validate` says about certificates before anybody connects."""

from __future__ import annotations

import datetime
import pickle
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
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
    _for_clients_only(folder, "client", datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
    _for_clients_only(folder, "oldclient", PAST)
    return made


def _for_clients_only(folder: Path, name: str, not_after: datetime.datetime) -> None:
    """Signed by itself, for no server (RFC 5280 4.2.1.12)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, PAST - datetime.timedelta(days=1), not_after)
        .add_extension(usage, critical=False)
        .sign(key, SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


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


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("client_ca: ca.pem", ""),
        ("client_ca: ca.pem, client_auth: required", ""),
        ("client_ca: ca.pem, client_auth: optional", ""),
        ("client_ca: missing.pem", "FIG121 cannot read missing.pem: No such file or directory"),
        ("client_ca: folder.pem", "FIG121 cannot read folder.pem: not a regular file"),
        ("client_ca: good.key", "FIG122 good.key holds no CA certificate in PEM"),
        ("client_ca: empty.pem", "FIG122 empty.pem holds no CA certificate in PEM"),
        ("client_auth: required", "FIG125 `client_auth: required` says nothing without `client_ca`"),
        ("client_auth: optional", "FIG125 `client_auth: optional` says nothing without `client_ca`"),
        ("client_ca: ca.pem, client_auth: never", "FIG010 `client_auth` must be"),
        ("client_auth: required, client_cq: ca.pem", "FIG006 "),
        ("client_auth: required, client_ca: 5", "FIG009 "),
    ],
)
def test_certificates_of_clients(authority: Authority, keys: str, expected: str) -> None:
    text = f"{BASE}server:\n  tls: {{certificate: good.pem, key: good.key, {keys}}}\n"
    problems = codes(authority.folder, text)
    assert len(problems) == bool(expected), problems
    assert not expected or problems[0].startswith(f"5 {expected}")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("certificate: good.pem, key: good.key", ""),
        ("ca: ca.pem, certificate: good.pem, key: good.key", ""),
        ("certificate: good.pem", "FIG126 `certificate` is no use without `key`"),
        ("key: good.key", "FIG126 `key` is no use without `certificate`"),
        ("certificate: good.pem, kye: good.key", "FIG006 "),
        ("certificate: good.pem, key: other.key", "FIG123 other.key is not the key of good.pem"),
        ("certificate: good.pem, key: locked.key", "FIG122 locked.key has a passphrase"),
        ("certificate: missing.pem, key: good.key", "FIG121 cannot read missing.pem"),
        ("certificate: empty.pem, key: good.key", "FIG122 empty.pem holds no certificate in PEM"),
        ("certificate: expired.pem, key: expired.key", "FIG124 expired.pem has expired: the upstream refuses it"),
        ("certificate: client.pem, key: client.key", ""),
        (
            "certificate: oldclient.pem, key: oldclient.key",
            "FIG124 oldclient.pem has expired: the upstream refuses it",
        ),
    ],
)
def test_the_certificate_that_fig_shows_an_upstream(authority: Authority, keys: str, expected: str) -> None:
    text = f"version: 1\nupstreams:\n  a:\n    endpoints: ['https://a:1']\n    tls: {{{keys}}}\ndefault: a\n"
    problems = codes(authority.folder, text)
    assert len(problems) == bool(expected), problems
    assert not expected or problems[0].startswith(f"5 {expected}")


WHOLE = """\
version: 1
server: {tls: {certificate: good.pem, key: good.key, client_ca: clients.pem}}
upstreams:
  a: {endpoints: ['https://a:1'], tls: {ca: ca.pem, certificate: shown.pem, key: shown.key}}
  b: {endpoints: ['https://b:1'], tls: {server_name: b.test}}
default: a
"""
FILES = ("good.pem", "good.key", "clients.pem", "ca.pem", "shown.pem", "shown.key")


@pytest.fixture
def whole(authority: Authority, tmp_path: Path) -> Path:
    """A folder with everything that WHOLE names."""
    copies = {"clients.pem": "ca.pem", "shown.pem": "other.pem", "shown.key": "other.key"}
    for name in FILES:
        shutil.copy(authority.folder / copies.get(name, name), tmp_path / name)
    return tmp_path


def test_paths_count_from_the_folder_and_the_files_take_part(whole: Path) -> None:
    made = loaded(whole, WHOLE)
    tls, upstream = made.settings.server.tls, made.settings.upstreams["a"].tls
    assert tls is not None
    assert upstream is not None
    assert [*tls.files.values(), *upstream.files.values()] == [str(whole / name) for name in FILES]
    assert {whole / name for name in FILES} <= set(made.files)


@pytest.mark.parametrize(("name", "upstream"), [(name, i > 2) for i, name in enumerate(FILES)])
def test_a_file_of_other_contents_makes_another_configuration(whole: Path, name: str, upstream: bool) -> None:
    before = loaded(whole, WHOLE)
    assert loaded(whole, f"# the same\n{WHOLE}").digest == before.digest
    path = whole / name
    path.write_bytes(path.read_bytes() + b"\n")
    after = loaded(whole, WHOLE)
    assert after.digest != before.digest
    assert (after.settings.server.tls != before.settings.server.tls) is not upstream
    assert (after.settings.upstreams["a"] != before.settings.upstreams["a"]) is upstream
    assert after.settings.upstreams["b"] == before.settings.upstreams["b"]
    assert after.settings.model_dump_json() == before.settings.model_dump_json()  # nothing of it is shown


def test_what_stands_for_the_contents_comes_along_from_the_child(whole: Path) -> None:
    settings = loaded(whole, WHOLE).settings
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    (whole / "good.key").write_bytes((whole / "good.key").read_bytes() + b"\n")
    assert again.server.tls != loaded(whole, WHOLE).settings.server.tls


def test_the_contents_are_no_key(authority: Authority) -> None:
    keys = "certificate: good.pem, key: good.key"
    for name in ("_contents", "contents", "FILES"):
        problems = codes(authority.folder, f"{BASE}server: {{tls: {{{keys}, {name}: x}}}}\n")
        assert [problem.split(" ")[1] for problem in problems] == ["FIG006"], name


def test_a_missing_key_is_told_once(authority: Authority) -> None:
    problems = codes(authority.folder, f"{BASE}server: {{tls: {{certificate: good.pem}}}}\n")
    assert [problem.split(" ")[1] for problem in problems] == ["FIG008"]
