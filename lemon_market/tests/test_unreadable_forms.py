"""Content types and forms that Django cannot read get an answer of ours: its own would be an empty 500 without any header."""

import json

import pytest

from infrastructure.content_types import readable_content_type
from testsupport.web_process import ORDER, Answer, WebProcess

PAGES = ["/login", "/admin/login/", "/", "/nowhere"]
URL_ENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
FORM = "username=anna"
PART = '--x\r\nContent-Disposition: form-data; name="username"{}\r\n\r\nanna\r\n--x--\r\n'
CSRF = "csrftoken=" + "x" * 32


def assert_is_ours(answer: Answer, path: str) -> None:
    assert answer.headers["x-request-id"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    if path.startswith("/orders"):
        assert json.loads(answer.text)["detail"]
    else:
        assert "This request cannot be understood" in answer.text
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", [*PAGES, "/orders", "/orders/batch"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (f"{URL_ENCODED}; charset=latin-1", FORM),
        (f"{URL_ENCODED}; charset=nope", FORM),
        (f"{URL_ENCODED}; charset=hex", FORM),
        (f"{MULTIPART}; charset=utf-16", PART.format("")),
        (f"{MULTIPART}; charset=rot13", PART.format("")),
        ("multipart/form-data; boundary*=nope''x", PART.format("")),
    ],
)
def test_an_unreadable_content_type_is_a_415_with_a_word(web: WebProcess, path: str, content_type: str, body: str) -> None:
    answer = web.ask("POST", path, body, **{"Content-Type": content_type, "Cookie": CSRF})
    assert answer.status == 415
    assert_is_ours(answer, path)
    assert f"request_id={answer.headers['x-request-id']}" in web.output.read_text()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URL_ENCODED, "&".join(f"a{number}=b" for number in range(1500))),
        (MULTIPART, PART.format('; filename="b"')),
        ("multipart/form-data", PART.format("")),
    ],
    ids=["too many fields", "a file", "no boundary"],
)
def test_an_unreadable_form_is_a_400_with_a_word(web: WebProcess, path: str, content_type: str, body: str) -> None:
    answer = web.ask("POST", path, body, **{"Content-Type": content_type, "Cookie": CSRF})
    assert answer.status == 400
    assert_is_ours(answer, path)


@pytest.mark.parametrize("path", ["/login", "/orders"])
def test_an_unreadable_form_for_another_host_is_a_400_with_a_word(web: WebProcess, path: str) -> None:
    """The page that refuses the host comes before the form is looked at."""
    headers = {"Content-Type": f"{URL_ENCODED}; charset=latin-1", "Cookie": CSRF, "Host": "evil.example"}
    answer = web.ask("POST", path, FORM, **headers)
    assert answer.status == 400
    assert_is_ours(answer, path)
    assert "ALLOWED_HOSTS" not in answer.text


def test_the_api_says_to_forms_of_every_kind_that_it_takes_json(web: WebProcess) -> None:
    many = "&".join(f"a{number}=b" for number in range(1500))
    headers = {"Authorization": f"Token {web.token}", "Cookie": CSRF}
    for content_type, body in ((URL_ENCODED, many), (MULTIPART, PART.format('; filename="b"')), (MULTIPART, PART.format(""))):
        answer = web.ask("POST", "/orders", body, **headers, **{"Content-Type": content_type})
        assert (answer.status, "Unsupported media type" in answer.text) == (415, True)


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "nope"])
def test_a_charset_of_what_is_no_form_is_of_no_account(web: WebProcess, charset: str) -> None:
    assert web.ask("GET", "/orders?page_size=1", **{"Content-Type": f"text/plain; charset={charset}"}).status == 200
    headers = {"Content-Type": f"application/json; charset={charset}", "Authorization": f"Token {web.token}"}
    assert web.ask("POST", "/orders", ORDER, **headers).status == 202


@pytest.mark.parametrize(
    ("given", "readable"),
    [
        ("", ""),
        ("application/json", "application/json"),
        ("application/json; charset=UTF-8", "application/json"),
        (f"{URL_ENCODED};charset=utf8", URL_ENCODED),
        (f"{URL_ENCODED}; charset=UTF-8", URL_ENCODED),
        (f"{MULTIPART}; charset=utf-8", f"{MULTIPART}; charset=utf-8"),
        (f'{URL_ENCODED}; charset=""', None),
        (";", ""),
    ],
)
def test_what_can_be_read_goes_on(given: str, readable: str | None) -> None:
    assert readable_content_type(given) == readable
