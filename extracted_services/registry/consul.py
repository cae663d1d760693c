"""Consul's shapes, in and out. Pure.

Source: developer.hashicorp.com/consul/api-docs, agent/service, agent/check, health, features/blocking.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .members import Check, Service, View

WORDS = "a letter or digit, then letters, digits and . _ -"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ID = ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:-]{0,254}")  # the colons are IPv6's
TAG = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")
MAX_TAGS = 64
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DEFAULT_WAIT, LONGEST_WAIT_S = "5m", 600.0


class Invalid(ValueError):
    """The text names the member, its value and what it may be."""


def registration(body: object) -> tuple[Service, Check | None]:
    """The body of `register`. What else Consul would take is left aside. Raises Invalid."""
    fields = mapping("the body", body)
    name = text("Name", fields.get("Name"), NAME, f"{WORDS}, 128 at most")
    port, tags = fields.get("Port"), fields.get("Tags") or []
    if type(port) is not int or not 1 <= port <= 65535:
        raise Invalid(f"Port: {port!r:.200} is not a whole number from 1 to 65535")
    if not isinstance(tags, list) or len(tags) > MAX_TAGS:
        raise Invalid(f"Tags: {tags!r:.200} is not a list of at most {MAX_TAGS} texts")
    if fields.get("Checks"):
        raise Invalid(f"Checks: {fields['Checks']!r:.200} are not kept: send one check, as Check")
    service = Service(
        text("ID", fields.get("ID") or name, ID, f"{WORDS} :, 255 at most"),
        name,
        text("Address", fields.get("Address"), ADDRESS, "a host name or an IP address, like 10.0.0.7"),
        port,
        tuple(text("Tags", tag, TAG, "a printable text of 1 to 255 characters") for tag in tags),
    )
    return service, None if fields.get("Check") is None else check(mapping("Check", fields["Check"]))


def check(fields: Mapping[str, object]) -> Check:
    ttl_s = duration("Check.TTL", fields.get("TTL"))
    if not ttl_s:
        raise Invalid(f"Check.TTL: {fields['TTL']!r} leaves no time to pass it in: give 3s or so")
    status = fields.get("Status") or "critical"
    if status not in ("passing", "critical"):
        raise Invalid(f"Check.Status: {status!r:.200} is neither passing nor critical")
    after = fields.get("DeregisterCriticalServiceAfter") or "0s"
    remove_after_s = duration("Check.DeregisterCriticalServiceAfter", after) or math.inf
    return Check(ttl_s, remove_after_s, status == "passing")


def index(value: str) -> int:
    if not re.fullmatch("[0-9]{1,20}", value):
        raise Invalid(f"index: {value!r:.200} is not a whole number: send the X-Consul-Index of the last answer")
    return int(value)


def duration(member: str, value: object) -> float:
    """Seconds of `1m30s`, `3s`, `500ms`."""
    if not isinstance(value, str) or not re.fullmatch(f"(?:{DURATION.pattern})+", value):
        raise Invalid(f"{member}: {value!r:.200} is not a duration: write 30s, 1m or 500ms")
    return math.fsum(float(number) * UNITS_S[unit] for number, unit in DURATION.findall(value))


def health(view: View, passing: bool) -> list[dict[str, Any]]:
    """The answer of `health/service`; with `passing` no critical instance is in it."""
    return [entry(service, passes) for service, passes in view.entries if passes is not False or not passing]


def entry(service: Service, passes: bool | None) -> dict[str, Any]:
    """Its node is the address that it is at: there are no agents here."""
    status = "passing" if passes else "critical"
    return {
        "Node": {"Node": service.address, "Address": service.address},
        "Service": {
            "ID": service.id,
            "Service": service.name,
            "Address": service.address,
            "Port": service.port,
            "Tags": service.tags,
        },
        "Checks": []
        if passes is None
        else [{"CheckID": f"service:{service.id}", "Status": status, "ServiceID": service.id}],
    }


def mapping(member: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Invalid(f"{member}: {value!r:.200} is not an object")
    return value


def text(member: str, value: object, allowed: re.Pattern[str], words: str) -> str:
    if not isinstance(value, str) or not allowed.fullmatch(value):
        raise Invalid(f"{member}: {value!r:.200} is not {words}")
    return value
