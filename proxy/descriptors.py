"""How many file descriptors the process may have, and how many of them traffic may take."""

from __future__ import annotations

import contextlib
import resource

# Listeners, event loop, standard streams, store, configuration and its loader: some 30. The rest is for the admin port
# and for connections that are only accepted to be refused.
RESERVE = 48


def raise_limit() -> int | None:
    """Lift the soft limit to the hard one: the soft one is made for select(2). None: there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems promise more than they give
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def budget(limit: int | None) -> int | None:
    """What is left for client connections and those to upstreams."""
    return None if limit is None else max(2, limit - RESERVE)
