"""Customers and sessions. Products, orders and checkout ask `signed_in` who is calling."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from .shop import Refused, Shop
from .web import reply, twins

COOKIE = "SHOPSESSID"
SUBJECT = "shop.subject"
"""Key of the ASGI scope: whom the gateway vouches for, by the number of the customer."""
IDLE_S = 8 * 3600
TOUCH_EVERY_S = 60
ITERATIONS = 10_000


def hashed(password: str, salt: str, iterations: int = ITERATIONS) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), iterations)
    return f"pbkdf2${iterations}${salt}${digest.hex()}"


def verified(password: str, stored: str) -> bool:
    _scheme, iterations, salt, _digest = stored.split("$")
    return hmac.compare_digest(hashed(password, salt, int(iterations)), stored)


def signed_in(connection: sqlite3.Connection, request: Request, now: float) -> sqlite3.Row:
    """The customers row of whom the gateway vouches for, else behind the request's cookie. Raises Refused when there is
    none: the cookie never speaks for somebody whom the gateway knows as another.
    """
    subject = request.scope.get(SUBJECT)
    if subject is not None:
        found = connection.execute("SELECT * FROM customers WHERE CAST(id AS TEXT) = ?", (subject,))
    else:
        found = connection.execute(
            "SELECT c.* FROM sessions s JOIN customers c ON c.id = s.customer_id WHERE s.sid = ? AND s.seen > ?",
            (request.cookies.get(COOKIE), now - IDLE_S),
        )
    row: sqlite3.Row | None = found.fetchone()
    if row is None:
        raise Refused("not logged in")
    return row


def touch(shop: Shop, sid: str) -> bool:
    """True while the session lives. Written down once a minute at most: a page view should not wait for a writer."""
    now = shop.now()
    with shop.database.read() as connection:
        row = connection.execute("SELECT seen FROM sessions WHERE sid = ?", (sid,)).fetchone()
    if row is None or row["seen"] <= now - IDLE_S:
        return False
    if row["seen"] <= now - TOUCH_EVERY_S:
        with shop.database.write() as connection:
            connection.execute("UPDATE sessions SET seen = ? WHERE sid = ?", (int(now), sid))
    return True


def set_cookie(sid: str) -> str:
    return f"{COOKIE}={sid}; Path=/; HttpOnly"


class Accounts:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return [*twins("/login", self.login, "POST"), *twins("/api/me", self.me)]

    async def login(self, request: Request) -> Response:
        """Form fields email, password → 302 and the cookie."""
        form = parse_qs((await request.body()).decode("latin-1"))
        email, password = form.get("email", [""])[0], form.get("password", [""])[0]
        sid = await run_in_threadpool(self._open_session, email, password)
        return RedirectResponse("/api/me", status_code=302, headers={"set-cookie": set_cookie(sid)})

    def me(self, request: Request) -> Response:
        with self._shop.database.read() as connection:
            row = signed_in(connection, request, self._shop.now())
        fields = {name: row[name] for name in ("name", "phone", "created", "vip", "staff", "last_login")}
        return reply({"cust_id": row["id"], **fields})

    def _open_session(self, email: str, password: str) -> str:
        with self._shop.database.read() as connection:
            row = connection.execute("SELECT id, password FROM customers WHERE email = ?", (email,)).fetchone()
        if row is None or not verified(password, row["password"]):
            raise Refused("wrong email or password")
        sid, now = self._shop.new_sid(), int(self._shop.now())
        with self._shop.database.write() as connection:
            connection.execute("DELETE FROM sessions WHERE seen <= ?", (now - IDLE_S,))
            connection.execute("INSERT INTO sessions (sid, customer_id, seen) VALUES (?, ?, ?)", (sid, row["id"], now))
            connection.execute("UPDATE customers SET last_login = ? WHERE id = ?", (now, row["id"]))
        return sid
