from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from state_core.answers import check_answer
from state_core.exceptions import InvalidValue


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"$ref": "file:///etc/passwd"}, "refers to 'file:///etc/passwd', which is not in it"),
        ({"$ref": "#/nowhere"}, "'/nowhere' does not exist. Only cancelling helps"),
        ({"pattern": "("}, "is not a JSON Schema"),
        ({"type": "text"}, "is not a JSON Schema"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, 'does not fit: "text" is not of type'),
    ],
)
def test_a_schema_that_no_answer_fits_is_told_of(schema, told):
    with pytest.raises(InvalidValue, match=told.replace("$", r"\$")):
        check_answer({"schema": schema}, "text")


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=(a+)+$)b"])
def test_a_pattern_that_backtracks_without_end_is_compared_all_the_same(pattern):
    with pytest.raises(InvalidValue, match="does not fit"):
        check_answer({"schema": {"type": "string", "pattern": pattern}}, "a" * 40 + "!")


def test_a_schema_that_refers_to_itself_ends():
    check_answer({"schema": {"allOf": [{"$ref": "#"}]}}, "text")


def test_no_address_in_a_schema_is_asked():
    asked: list[str] = []

    class Noting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Noting)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.raises(InvalidValue, match="which is not in it"):
            check_answer({"schema": {"$ref": f"http://127.0.0.1:{server.server_port}/"}}, 1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == []


@pytest.mark.parametrize("question", [{"choices": ["yes" * 1000]}, {"schema": {"maxLength": 3}}])
def test_what_is_said_of_a_long_answer_is_bounded(question):
    with pytest.raises(InvalidValue) as refused:
        check_answer(question, "x" * 1_000_000)
    assert len(str(refused.value)) <= 500
