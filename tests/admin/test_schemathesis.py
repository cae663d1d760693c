"""The admin port against its own OpenAPI document: Schemathesis makes the requests, good ones and bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proxy.admin.openapi import openapi
from proxy.snapshot import SeamRecord
from tests.support.admin import AdminPort
from tests.support.cli import Listener, Served

CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(openapi("1.2.3")).get_all_operations()]
FREE = ("/healthz", "/readyz", "/metrics")
TOKEN = "Bearer s3cret-token"
WRONG_TOKENS = ("", "Bearer wrong", "Bearer", f"{TOKEN}x", "Basic s3cret-token", "s3cret-token")
NAMES = st.sampled_from([None, "catalog", "orders", "pages"])  # None leaves the name that was made up

SPOILABLE = [operation for operation in OPERATIONS if list(operation.query) or list(operation.body)]
EITHER_MODE = [(operation, GenerationMode.POSITIVE) for operation in OPERATIONS] + [
    (operation, GenerationMode.NEGATIVE) for operation in SPOILABLE
]

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
either_mode = pytest.mark.parametrize(
    ("operation", "mode"), EITHER_MODE, ids=[f"{operation.label} {mode.value}" for operation, mode in EITHER_MODE]
)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """An admin port with this token behind a socket of its own."""
    with pytest.MonkeyPatch.context() as environ, ExitStack() as ends:
        environ.setenv("NO_PROXY", "*")

        def start(token: str) -> Served:
            admin = AdminPort(tmp_path_factory.mktemp("admin"), token=token)
            ends.callback(admin.close)
            listener = Listener()
            ends.callback(listener.close)
            listener.app = admin.app
            return Served(admin, listener.url)

        yield start


@pytest.fixture(scope="module")
def open_port(serve: Callable[[str], Served]) -> Served:
    return serve("")


@pytest.fixture(scope="module")
def locked_port(serve: Callable[[str], Served]) -> Served:
    return serve("s3cret-token")


def records(port: Served) -> dict[str, SeamRecord]:
    return {name: state.record for name, state in port.admin.runtime.snapshot.states.items()}


def ask(
    port: Served,
    operation: Any,
    mode: GenerationMode,
    examples: int,
    judge: Callable[[Any, Any], None],
    variants: Sequence[Mapping[str, str]] = ({},),
) -> None:
    """Each request goes with each of `variants`, its headers; one that is "" is left out. `judge(case, response)`
    raises."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), NAMES)
    def each(case: Any, name: str | None) -> None:
        if name is not None and "name" in (case.path_parameters or {}):
            case.path_parameters["name"] = name
        for headers in variants:
            for header, value in headers.items():
                case.headers.pop(header, None)
                if value:
                    case.headers[header] = value
            judge(case, case.call(base_url=port.url))

    each()


def conforms(case: Any, response: Any) -> None:
    case.validate_response(response, checks=CONFORMANCE)  # an undocumented status, 5xx too, is a failure
    assert response.status_code < 500 or response.status_code == 503


def status_is(status: int) -> Callable[[Any, Any], None]:
    def judge(case: Any, response: Any) -> None:
        assert response.status_code == status
        case.validate_response(response, checks=CONFORMANCE)

    return judge


@either_mode
def test_every_answer_is_as_documented(open_port: Served, operation: Any, mode: GenerationMode) -> None:
    ask(open_port, operation, mode, 20, conforms)


@pytest.mark.soak
@pytest.mark.timeout(900)
@either_mode
def test_every_one_of_many_answers_is_as_documented(open_port: Served, operation: Any, mode: GenerationMode) -> None:
    ask(open_port, operation, mode, 300, conforms)


@every_operation
def test_with_the_right_token_every_answer_is_as_documented(locked_port: Served, operation: Any) -> None:
    ask(locked_port, operation, GenerationMode.POSITIVE, 4, conforms, [{"Authorization": TOKEN}])


@every_operation
def test_without_the_token_only_probes_and_metrics_are_answered(locked_port: Served, operation: Any) -> None:
    expected, before = status_is(200 if operation.path in FREE else 401), records(locked_port)
    variants = [{"Authorization": value} for value in WRONG_TOKENS]
    ask(locked_port, operation, GenerationMode.POSITIVE, 3, expected, variants)
    assert records(locked_port) == before


@every_operation
def test_without_a_token_pages_and_names_from_elsewhere_are_refused(open_port: Served, operation: Any) -> None:
    before = records(open_port)
    variants = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "", "Host": "evil.example"},
        {"Host": "localhost.evil.example:9901"},
    ]
    ask(open_port, operation, GenerationMode.POSITIVE, 3, status_is(403), variants)
    assert records(open_port) == before
