"""The open tunnels by seam and side, and what became of those that ended. Knows no bytes."""

from __future__ import annotations

import asyncio
from collections import Counter

from proxy.routing.resilience import Side
from proxy.wire.responder import Switched
from proxy.wire.timer import TimerWheel
from proxy.wire.tunnel import End, Tunnel

Key = tuple[str, Side]


class Tunnels:
    """`leaving`: no tunnel stays any more. `ended` counts by seam, side and who ended it; `moved` counts bytes of ended
    tunnels by seam and side: from the client, to the client."""

    def __init__(self, wheel: TimerWheel) -> None:
        self.leaving = False
        self.ended: Counter[tuple[str, Side, End]] = Counter()
        self.moved: dict[Key, tuple[int, int]] = {}
        self._wheel = wheel
        self._open: dict[Key, set[Tunnel]] = {}

    @property
    def open(self) -> dict[Key, int]:
        return {key: len(tunnels) for key, tunnels in self._open.items()}

    def start(
        self,
        key: Key,
        client: Switched,
        upstream: Switched,
        *,
        websocket: bool,
        idle_s: float,
        max_s: float | None,
        expires_s: float | None = None,
    ) -> Tunnel:
        """Both connections are the tunnel's from now on. The caller owes `run`. `expires_s`: seconds until the
        credential ends that let it in."""
        tunnel = Tunnel(
            client.transport,
            upstream.transport,
            loop=asyncio.get_running_loop(),
            wheel=self._wheel,
            websocket=websocket,
            idle_s=idle_s,
            max_s=max_s,
            expires_s=expires_s,
            client_lost=client.lost,
            upstream_lost=upstream.lost,
        )
        self._open.setdefault(key, set()).add(tunnel)
        tunnel.start(client.early, upstream.early, client_stalled=client.stalled, upstream_stalled=upstream.stalled)
        if self.leaving:
            tunnel.close("drain")
        return tunnel

    async def run(self, key: Key, tunnel: Tunnel) -> None:
        """Until both ends are closed. Cancelling cuts both."""
        end: End = "client"
        try:
            end = await tunnel.run()
        finally:
            self._open[key].discard(tunnel)
            self.ended[*key, end] += 1
            bytes_in, bytes_out = self.moved.get(key, (0, 0))
            self.moved[key] = (bytes_in + tunnel.bytes_in, bytes_out + tunnel.bytes_out)

    def roll_back(self, seam: str) -> None:
        """Close what the seam's extracted side holds."""
        for tunnel in list(self._open.get((seam, "extracted"), ())):
            tunnel.close("rollback")

    def on_extracted(self) -> list[str]:
        """Seams whose extracted side holds a tunnel."""
        return [seam for (seam, side), tunnels in self._open.items() if side == "extracted" and tunnels]

    def leave(self) -> None:
        """The process ends: close all."""
        self.leaving = True
        for tunnels in list(self._open.values()):
            for tunnel in list(tunnels):
                tunnel.close("drain")
