from __future__ import annotations

import math

import pytest

from extracted_services.registry.consul import Invalid, duration, index, registration
from extracted_services.registry.members import Check, Service

LEAST = {"Name": "catalog", "Address": "10.0.0.7", "Port": 8101}


def test_a_whole_registration_is_read():
    body = LEAST | {
        "ID": "catalog-::1-8101",
        "Address": "::1",
        "Tags": ["blue", "größer"],
        "Check": {"TTL": "3s", "DeregisterCriticalServiceAfter": "1m30s", "Status": "passing"},
        "Meta": {"version": "1"},
    }
    service = Service("catalog-::1-8101", "catalog", "::1", 8101, ("blue", "größer"))
    assert registration(body) == (service, Check(3, 90, passing=True))


@pytest.mark.parametrize("nothing", [{}, {"ID": "", "Tags": None, "Check": None, "Checks": []}])
def test_what_is_left_out_has_consuls_defaults(nothing):
    assert registration(LEAST | nothing) == (Service("catalog", "catalog", "10.0.0.7", 8101), None)
    assert registration(LEAST | {"Check": {"TTL": "500ms"}})[1] == Check(0.5, math.inf, passing=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Name": ""}, "Name: '' is not a letter or digit, then"),
        ({"Name": "a/b"}, "Name: 'a/b' is not"),
        ({"Name": "a" * 129}, "128 at most"),
        ({"Name": 7}, "Name: 7 is not"),
        ({"ID": "a b"}, "ID: 'a b' is not"),
        ({"ID": ".."}, "ID: '..' is not"),
        ({"ID": "a\n"}, r"ID: 'a\n' is not"),
        ({"Address": None}, "Address: None is not a host name or an IP address, like"),
        ({"Address": "http://a"}, "Address: 'http://a' is not"),
        ({"Port": 0}, "Port: 0 is not a whole number from 1 to 65535"),
        ({"Port": 65536}, "Port: 65536 is not"),
        ({"Port": True}, "Port: True is not"),
        ({"Port": "8101"}, "Port: '8101' is not"),
        ({"Tags": "blue"}, "Tags: 'blue' is not a list of at most 64 texts"),
        ({"Tags": ["x"] * 65}, "is not a list of at most 64 texts"),
        ({"Tags": ["\ud800"]}, r"Tags: '\ud800' is not a printable text"),
        ({"Tags": [1]}, "Tags: 1 is not a printable text"),
        ({"Checks": [{"TTL": "3s"}]}, "send one check, as Check"),
        ({"Check": "3s"}, "Check: '3s' is not an object"),
        ({"Check": {"HTTP": "http://a"}}, "Check.TTL: None is not a duration: write 30s"),
        ({"Check": {"TTL": "0s"}}, "Check.TTL: '0s' leaves no time"),
        ({"Check": {"TTL": 3}}, "Check.TTL: 3 is not a duration"),
        ({"Check": {"TTL": "3s", "Status": "warning"}}, "Check.Status: 'warning' is neither"),
        ({"Check": {"TTL": "3s", "DeregisterCriticalServiceAfter": "soon"}}, "ServiceAfter: 'soon' is not a duration"),
    ],
)
def test_a_bad_member_is_named_with_its_value_and_what_it_may_be(change, says):
    with pytest.raises(Invalid) as refused:
        registration(LEAST | change)
    assert says in str(refused.value)


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(Invalid, match=r"the body: \[1\] is not an object"):
        registration([1])


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1m", 60), ("500ms", 0.5), ("1h2m3.5s", 3723.5), ("0s", 0), ("2m500ms", 120.5)]
)
def test_durations_are_gos(text, seconds):
    assert duration("wait", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1 s", "1d", "1s ", "1e3s", "٣s", "9999999999s", "inf", None, 5]
)
def test_anything_else_is_no_duration(text):
    with pytest.raises(Invalid, match=r"wait: .* is not a duration"):
        duration("wait", text)


@pytest.mark.parametrize("text", ["-1", "x", "1.0", "9" * 21, "٣"])
def test_an_index_is_a_whole_number(text):
    with pytest.raises(Invalid, match=r"index: .* is not a whole number"):
        index(text)
