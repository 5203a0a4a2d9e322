"""SIGTERM for a web process in the middle of a request: the answer still comes."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from devstack import local_install
from testsupport.waiting import wait_until
from testsupport.web_process import WebProcess

BOUND_S = 10.0


def test_a_request_that_is_under_way_is_answered_and_its_order_is_stored(tmp_path: Path) -> None:
    web = WebProcess(tmp_path)
    try:
        with psycopg.connect(local_install.load(web.data_dir).postgres_url) as database, ThreadPoolExecutor(1) as pool:
            database.execute("LOCK TABLE orders_order IN EXCLUSIVE MODE")
            request = pool.submit(web.order)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            with psycopg.connect(local_install.load(web.data_dir).postgres_url, autocommit=True) as onlooker:
                wait_until(lambda: onlooker.execute(waiting).fetchone() == (1,), within_s=10, what="the request waits")
            web.process.send_signal(signal.SIGTERM)
            database.commit()
            assert request.result(BOUND_S).status == 202
        assert web.process.wait(BOUND_S) == 0
        with psycopg.connect(local_install.load(web.data_dir).postgres_url) as database:
            assert database.execute("SELECT count(*) FROM orders_order").fetchone() == (1,)
    finally:
        web.stop()
