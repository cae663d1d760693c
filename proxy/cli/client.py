"""Asks the admin port. Turns whatever goes wrong on the way into one readable error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import click
import httpx

from proxy.cli.options import Common, Failure, Invalid
from proxy.cli.render import printable

_SEAM = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_CONNECT_S = 3.0
_ANSWER_S = 60.0  # a reload of thousands of seams takes seconds


class AdminClient:
    """Every method returns the JSON answer or raises Failure."""

    def __init__(self, common: Common) -> None:
        self.url = _checked_url(common.admin)
        headers = {b"Accept": b"application/json"}
        if common.actor:
            headers[b"X-Fig-Actor"] = common.actor.encode()
        if common.token:
            headers[b"Authorization"] = b"Bearer " + _checked_token(common.token)
        self._client = httpx.Client(
            base_url=self.url, headers=headers, trust_env=False, timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
        )

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int) -> Any:
        return self._call("GET", path, params=query)

    def post(self, path: str, members: Mapping[str, Any]) -> Any:
        """Members that are None are left out."""
        return self._call("POST", path, json={name: value for name, value in members.items() if value is not None})

    def seam(self, name: str) -> Any:
        return self.get(_seam_path(name))

    def of_seam(self, name: str, what: str) -> Any:
        """`comparisons` or `evidence` of a seam."""
        return self.get(f"{_seam_path(name)}/{what}")

    def change(self, name: str, verb: str, **members: Any) -> Any:
        return self.post(f"{_seam_path(name)}/{verb}", members)

    def _call(self, method: str, path: str, **content: Any) -> Any:
        try:
            answer = self._client.request(method, path, **content)
        except httpx.ConnectError as error:
            raise Failure(
                f"no fig answers at {self.url} ({error}): start it, or name its port with --admin or $FIG_ADMIN_URL"
            ) from None
        except httpx.TimeoutException:
            raise Failure(f"{self.url} did not answer in time: look at the process and its load") from None
        except httpx.HTTPError as error:
            raise Failure(f"{self.url} did not give a valid answer ({error}): is it fig's admin port?") from None
        document = _json(answer)
        if not answer.is_success:
            raise _failure(self.url, answer, document)
        if document is None:
            raise Failure(f"{self.url} did not answer with JSON: is it fig's admin port?")
        return document


def _seam_path(name: str) -> str:
    if not _SEAM.fullmatch(name):  # no seam can have it, and in a URL it may mean something else
        raise Failure(f"there is no seam {name!r}; `fig get seams` lists them")
    return f"/api/seams/{name}"


def _json(answer: httpx.Response) -> Any:
    if "json" not in answer.headers.get("content-type", ""):
        return None
    try:
        return answer.json()
    except ValueError:
        return None


def _failure(url: str, answer: httpx.Response, document: Any) -> Failure:
    if not isinstance(document, dict) or "title" not in document:
        return Failure(f"{url} answered {answer.status_code} without saying why: is it fig's admin port?")
    if document.get("problems"):
        lines = [_problem_line(problem) for problem in document["problems"]]
        return Invalid("\n".join(["the configuration is not valid; the old one keeps serving:", *lines]))
    cure = "; give it with --token or $FIG_ADMIN_TOKEN" if answer.status_code == 401 else ""
    kind = Invalid if document.get("reason") == "config_invalid" else Failure
    return kind(printable(f"{document['title']}: {document.get('detail', '')}{cure}"))


def _problem_line(problem: dict[str, Any]) -> str:
    place = f"{problem['file']}:{problem['line']}:{problem['column']} {problem['code']}"
    warning = "warning: " if problem["severity"] == "warning" else ""
    return printable(f"{place} {warning}{problem['message']}")


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise click.BadParameter(f"{url!r} is no URL ({error})", param_hint="--admin") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise click.BadParameter(f"{url!r} is not like http://127.0.0.1:9901", param_hint="--admin")
    return url


def _checked_token(token: str) -> bytes:
    if not token.isprintable():
        raise click.BadParameter("it has a control character; see also $FIG_ADMIN_TOKEN", param_hint="--token")
    return token.encode()
