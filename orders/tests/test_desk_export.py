"""The CSV export of the filtered list."""

import csv
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from orders import lifecycle
from orders.admin import csv_export
from orders.models import Order
from orders.rendering import moment
from orders.storage import save_changes
from orders.tests.desk import LIST, many_failed, refuse

pytestmark = pytest.mark.django_db
Accept = Callable[..., Order]


@pytest.fixture
def exporter(staff: Callable[..., Client]) -> Client:
    return staff("view_order", "export_order")


def export(client: Client, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"{LIST}export/?{query}")
    assert answer.status_code == 200
    assert answer.streaming
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="orders-')
    return list(csv.DictReader(b"".join(answer).decode().splitlines()))


def test_an_order_is_exported_with_its_facts(exporter: Client, accept: Accept) -> None:
    order = refuse(accept(type="limit", limit_price="250.50", side="sell", client_order_id="mine, 1"))
    [row] = export(exporter)
    assert row["id"] == str(order.id)
    assert row["created_at"] == moment(order.created_at)
    facts = {
        "account": "anna",
        "client_order_id": "mine, 1",
        "limit_price": "250.50",
        "status": "failed",
        "exchange_order_id": "",
    }
    assert {name: row[name] for name in facts} == facts
    assert row["error_message"] == "The exchange refused the order: unknown instrument"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"plain", "refused"}),
        ("status__exact=failed", {"refused"}),
        ("status__exact=failed&side__exact=sell", set()),
        ("q=plain", {"plain"}),
        ("p=7", {"plain", "refused"}),
    ],
)
def test_what_the_list_shows_on_all_its_pages_is_exported(
    exporter: Client, accept: Accept, query: str, expected: set[str]
) -> None:
    accept(client_order_id="plain")
    refuse(accept(client_order_id="refused"))
    assert {row["client_order_id"] for row in export(exporter, query)} == expected


@pytest.mark.parametrize("query", ["id__exact=x", "p=x", "p=99999", "o=99.x", "e=1", "created_at_from_0=soon"])
def test_a_garbled_address_of_an_export_breaks_nothing(exporter: Client, accept: Accept, query: str) -> None:
    accept()
    assert exporter.get(f"{LIST}export/?{query}", follow=True).status_code == 200


def test_an_export_is_read_page_after_page(
    exporter: Client, account: Any, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(csv_export, "PAGE_SIZE", 10)
    ids = [str(order.id) for order in many_failed(account, 25)]
    orders = Order.objects.all()
    with django_assert_num_queries(3):
        lines = list(csv_export.csv_lines(orders))
    assert [chunk.count("\r\n") for chunk in lines] == [1, 10, 10, 5]
    assert [row["id"] for row in export(exporter)] == ids[::-1]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_spreadsheet_calculates_nothing_of_what_a_client_wrote(exporter: Client, accept: Accept, start: str) -> None:
    accept(client_order_id=f"{start}cmd|' /C calc'!A0")
    [row] = export(exporter)
    assert row["client_order_id"] == f"'{start}cmd|' /C calc'!A0"


FORMULA = re.compile(r"""[\s"]*[=+\-@\uff1d]""")


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n"])
@pytest.mark.parametrize("before_sign", ["", " ", '"', "\t", ";", ' "'])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d"])
def test_no_cell_is_a_formula_where_a_spreadsheet_splits_ours(separator: str, before_sign: str, sign: str) -> None:
    line = csv.writer(csv_export.Echo()).writerow(["id", csv_export.cell(f"x{separator}{before_sign}{sign}cmd|' /C calc'!A0")])
    for own_separator in (",", ";", "\t"):
        # With the quotes of a reader who does not know ours, and of one who does.
        for cells in (re.split(f"[{own_separator}\r\n]+", line), *csv.reader(line.splitlines(), delimiter=own_separator)):
            assert not [one for one in cells if FORMULA.match(one)]


@pytest.mark.parametrize("text", ["a;b=c-d, 1", "x; not +1; a@b", "refused: 3 > 2"])
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert csv_export.cell(text) == text


def test_a_spreadsheet_calculates_nothing_of_what_the_exchange_wrote(exporter: Client, accept: Accept) -> None:
    order = accept()
    save_changes([order], lifecycle.acknowledged(order, "=1+1", order.created_at))
    [row] = export(exporter)
    assert row["exchange_order_id"] == "'=1+1"


def test_an_export_wants_its_permission_and_that_to_view(staff: Callable[..., Client], accept: Accept) -> None:
    accept()
    assert staff("view_order", name="vera").get(f"{LIST}export/").status_code == 403
    assert staff("export_order", name="emil").get(f"{LIST}export/").status_code == 403
    assert staff("view_order", "export_order", name="dora").post(f"{LIST}export/").status_code == 405
