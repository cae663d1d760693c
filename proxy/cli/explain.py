"""`fig explain`: why a request would go where it goes, by a running fig or by a file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from proxy.cli.files import load_or_fail
from proxy.cli.options import Common, connected
from proxy.cli.render import Table, printable, show, show_json

Lines = list[tuple[str, str]]


@click.command()
@click.argument("method")
@click.argument("path")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header; repeatable.")
@click.option("--client-ip", metavar="IP", help="Address of the client, after trusted proxies.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Ask this file, not a running fig.")
@connected
def explain(
    common: Common, method: str, path: str, headers: tuple[str, ...], client_ip: str | None, config: Path | None
) -> None:
    """Show which seam, route and side a request gets, and the configuration line behind each step."""
    lines = [_header(text) for text in headers]
    method = method.upper()
    if config is None:
        answer = _ask_fig(common, method, path, lines, client_ip)
    else:
        answer = _ask_file(config, method, path, lines, _checked_ip(client_ip))
    if common.output == "json":
        show_json(answer)
    else:
        show(_steps(answer))
        click.echo(f"→ {printable(_verdict(answer))}")


def _ask_fig(common: Common, method: str, path: str, lines: Lines, client_ip: str | None) -> Any:
    from proxy.cli.client import AdminClient

    headers: dict[str, list[str]] = {}
    for name, value in lines:
        headers.setdefault(name, []).append(value)
    with AdminClient(common) as client:
        return client.post("/api/explain", {"method": method, "path": path, "headers": headers, "client_ip": client_ip})


def _ask_file(config: Path, method: str, path: str, lines: Lines, client_ip: str | None) -> Any:
    from proxy.admin.explain import explain as explain_request
    from proxy.admin.explain import explain_refusal
    from proxy.admin.question import build_request
    from proxy.admission.trust import Trust
    from proxy.errors import Rejected
    from proxy.snapshot import compile_now

    snapshot = compile_now(load_or_fail(config), {})
    server = snapshot.settings.server
    click.echo("by the file alone: shifts and rollbacks of a running fig do not count here", err=True)
    try:
        request = build_request(method, path, lines, "127.0.0.1", server)
    except Rejected as error:
        return explain_refusal(error)
    return explain_request(snapshot, Trust(server.trusted_proxies), request, client_ip)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is not 'NAME: VALUE'", param_hint="-H")
    return name.strip(), value.strip()


def _checked_ip(text: str | None) -> str | None:
    from ipaddress import ip_address

    try:
        return None if text is None else str(ip_address(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no IP address", param_hint="--client-ip") from None


def _steps(answer: dict[str, Any]) -> Table:
    numbered = enumerate(answer["steps"], 1)
    return Table((), [(n, step["step"], step["result"], step["source"], step["detail"]) for n, step in numbered])


def _verdict(answer: dict[str, Any]) -> str:
    if answer["side"] is None:
        return f"refused: {answer['reason']}"
    instead = f"; fallback {answer['fallback']}" if answer["fallback"] else ""
    return f"{answer['side']} of {answer['seam']}, upstream {answer['upstream']} ({answer['reason']}){instead}"
