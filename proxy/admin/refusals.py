"""Errors that only the admin port has. Knows no endpoint; the statuses are those of RFC 9110."""

from __future__ import annotations

from dataclasses import asdict

from proxy.errors import Problem, ProxyError, Rejected

_SHOWN_PROBLEMS = 20


class NotFound(Rejected):
    status, cause, title = 404, "not_found", "Not found"


class TooManyFailures(Rejected):
    """Wrong tokens beyond those whose answers wait (RFC 6585 4). `retry_after_s` is in whole seconds."""

    status, cause, title = 429, "rate_limited", "Too many wrong tokens"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class UnsupportedMediaType(Rejected):
    status, cause, title = 415, "unsupported_media_type", "Unsupported media type"


class NotReady(ProxyError):
    """`word` says why: it becomes the reason, as in `draining`."""

    status, cause, title = 503, "not_ready", "Not ready"

    def __init__(self, word: str) -> None:
        super().__init__(f"Not ready: {word}.")
        self.word = word

    def problem(self, request_id: str) -> dict[str, object]:
        return {**super().problem(request_id), "reason": self.word}


class NoChangesHere(ProxyError):
    """This process is on its way out, and the next one would not hear of it."""

    status, cause, title = 503, "draining", "No changes here any more"


class InvalidConfiguration(Rejected):
    """The new configuration cannot be used; the old one keeps serving. `problems` are all that were found."""

    status, cause, title = 422, "config_invalid", "Invalid configuration"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        shown = [str(problem) for problem in problems[:_SHOWN_PROBLEMS]]
        if len(problems) > _SHOWN_PROBLEMS:
            shown.append(f"and {len(problems) - _SHOWN_PROBLEMS} more")
        super().__init__("; ".join(shown))
        self.problems = problems

    def problem(self, request_id: str) -> dict[str, object]:
        return {**super().problem(request_id), "problems": [asdict(problem) for problem in self.problems]}
