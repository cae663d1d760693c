"""Listening sockets that this process did not open: from a service manager, or from the fig that it succeeds.

The environment says which file descriptors they are. It is cleared as it is read, so that no child takes them for its
own. Knows neither configuration nor HTTP.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

HANDOVER = "FIG_HANDOVER"

_FIRST = 3  # sd_listen_fds(3): the descriptors begin after the standard ones
_PORTS = ("data", "admin")


class NotInheritable(Exception):
    """Says which descriptor cannot be used, and the cure."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """`data` and `admin` are None where fig opens its own. `kept`: another process goes on holding the data socket, so
    what waits in it belongs to whoever comes next. `channel` leads to the fig that is to be succeeded."""

    data: socket.socket | None = None
    admin: socket.socket | None = None
    kept: bool = False
    channel: socket.socket | None = None


def take(environ: MutableMapping[str, str], pid: int) -> Inherited:
    """What `environ` promises the process `pid`. Raises NotInheritable."""
    handover = environ.pop(HANDOVER, None)
    words = [environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
    if handover is not None:
        return _from_predecessor(handover)
    meant, count, names = words
    if meant != str(pid) or not count.isdigit() or count == "0":
        return Inherited()  # it was for somebody else
    return _activated(int(count), names.split(":") if names else [])


def promise(data: int, admin: int, channel: int, kept: bool) -> str:
    """The value of FIG_HANDOVER for a child that is given these descriptors."""
    return f"{data},{admin},{channel},{int(kept)}"


def _from_predecessor(text: str) -> Inherited:
    try:
        data, admin, channel, kept = map(int, text.split(","))
    except ValueError:
        raise NotInheritable(f"{HANDOVER} is {text!r}: unset it, it is meant for a fig's own successor") from None
    return Inherited(_listener(data, "data"), _listener(admin, "admin"), bool(kept), _adopted(channel, HANDOVER))


def _activated(count: int, names: list[str]) -> Inherited:
    """Socket activation as systemd does it. Without a name of ours the order counts: systemd fills in unit names."""
    if not set(names) & set(_PORTS):
        names = list(_PORTS[:count])
    if len(names) != count or not set(names) <= set(_PORTS) or len(set(names)) != count:
        raise NotInheritable(
            f"LISTEN_FDS={count} with the names {':'.join(names)}: pass one socket named `data` and at most one named"
            " `admin` (FileDescriptorName= in the socket units)"
        )
    found = {name: _listener(_FIRST + position, name) for position, name in enumerate(names)}
    return Inherited(found.get("data"), found.get("admin"), kept="data" in found)


def _listener(fd: int, name: str) -> socket.socket:
    found = _adopted(fd, name)
    tcp = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
    if not tcp or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        raise NotInheritable(
            f"the inherited descriptor {fd} ({name}) is no listening TCP socket: pass one (ListenStream=ADDRESS:PORT,"
            " Accept=no), or none and let fig open `listen`"
        )
    return found


def _adopted(fd: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        return socket.socket(fileno=fd)
    except (OSError, OverflowError) as error:
        raise NotInheritable(
            f"the inherited descriptor {fd} ({name}) cannot be used ({error}): pass a listening TCP socket,"
            " or unset LISTEN_FDS"
        ) from error
