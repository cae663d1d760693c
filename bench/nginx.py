"""What both uses of nginx share, origin and peer: where it is, and settings that name no body and no upstream."""

from __future__ import annotations

import os
import pwd

from bench.process import find


def find_nginx() -> str | None:
    return find("nginx")


# As root nginx would give its worker away to a user that cannot read the temporary folder.
_USER = f"user {pwd.getpwuid(os.geteuid()).pw_name};\n" if os.geteuid() == 0 else ""

GLOBAL = f"""{_USER}daemon off;
worker_processes 1;
worker_rlimit_nofile 40000;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 40000; }}"""

HTTP = """
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path client_body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
"""
