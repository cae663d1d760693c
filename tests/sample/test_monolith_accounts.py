from __future__ import annotations

from legacy_monolith.accounts import IDLE_S


def test_login_is_a_form_that_answers_302_and_a_cookie(browser):
    reply = browser.login("ada")
    assert (reply.status_code, reply.headers["location"]) == (302, "/api/me")
    assert reply.headers["set-cookie"] == "SHOPSESSID=sid-1; Path=/; HttpOnly"


def test_a_wrong_password_is_a_200_that_says_no_and_sets_no_cookie(browser):
    for form in ({"email": "ada@shop.example", "password": "Ada-secret"}, {"email": "nobody", "password": ""}, {}):
        reply = browser.post("/login", data=form)
        assert (reply.status_code, reply.json()) == (200, {"ok": False, "error": "wrong email or password"})
        assert "set-cookie" not in reply.headers


def test_me_is_the_customer_of_the_session(browser, clock):
    browser.login("ada")
    assert browser.get("/api/me").json() == {
        "cust_id": 7,
        "name": "Ada",
        "created": "2026-05-13 23:01:00",
        "vip": "Y",
        "staff": 0,
        "last_login": int(clock.now),
    }


def test_nulls_are_left_out(browser):
    browser.login("ada")
    assert "phone" not in browser.get("/api/me").json()
    browser.login("katherine")
    assert browser.get("/api/me").json()["phone"] == "555-0109"


def test_without_a_session_nobody_is_logged_in(browser):
    assert browser.get("/api/me").json() == {"ok": False, "error": "not logged in"}
    reply = browser.get("/api/me", headers={"cookie": "SHOPSESSID=forged"})
    assert reply.json() == {"ok": False, "error": "not logged in"}
    assert "set-cookie" not in reply.headers


def test_the_cookie_is_set_again_on_every_reply_while_the_session_lives(browser):
    browser.login("ada")
    for path in ("/api/products", "/api/products/9999", "/api/products?page=x", "/nowhere", "/healthz"):
        assert browser.get(path).headers["set-cookie"] == "SHOPSESSID=sid-1; Path=/; HttpOnly", path


def test_each_reply_prolongs_the_session_and_idling_ends_it(browser, clock):
    browser.login("ada")
    for _ in range(3):
        clock.advance(IDLE_S - 1)
        assert browser.get("/api/me").json()["name"] == "Ada"
    clock.advance(IDLE_S)
    reply = browser.get("/api/me")
    assert reply.json() == {"ok": False, "error": "not logged in"}
    assert "set-cookie" not in reply.headers


def test_a_second_login_answers_the_new_cookie_only(browser):
    browser.login("ada")
    assert browser.login("john").headers.get_list("set-cookie") == ["SHOPSESSID=sid-2; Path=/; HttpOnly"]
    assert browser.get("/api/me").json()["cust_id"] == 8


def test_a_login_sweeps_out_dead_sessions_and_leaves_the_living(open_browser, monolith, clock, database):
    def sessions():
        with database.read() as connection:
            return [row["sid"] for row in connection.execute("SELECT sid FROM sessions ORDER BY sid")]

    open_browser(monolith).login("ada")
    clock.advance(IDLE_S - 1)
    open_browser(monolith).login("john")
    assert sessions() == ["sid-1", "sid-2"]
    clock.advance(IDLE_S - 1)
    open_browser(monolith).login("grace")
    assert sessions() == ["sid-2", "sid-3"]
