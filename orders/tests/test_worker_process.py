"""Processes that place orders are found by the sweep, whatever else is in their folder and however full the disk is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from orders.placement.worker_registry import kill_registered_processes, process_files, register_this_process, registered_processes
from testsupport.small_disk import fill, mounted_small_disk

REGISTERED = """
import django; django.setup()
from orders.placement.worker_registry import register_this_process
register_this_process(); print("registered", flush=True)
input()
"""


def registered_pids() -> list[int]:
    return [process.pid for process in registered_processes()]


def test_a_worker_starts_and_is_found_on_a_disk_that_is_full(tmp_path: Path, settings: Any) -> None:
    with mounted_small_disk(tmp_path) as disk:
        settings.DATA_DIR = disk
        fill(disk)
        register_this_process()
        assert registered_pids() == [os.getpid()]


def test_a_worker_starts_where_it_cannot_be_registered(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    process_files().touch()
    register_this_process()
    assert registered_pids() == []


def test_strangers_files_are_left_alone_and_frozen_workers_are_replaced_all_the_same(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    process_files().mkdir()
    strangers = {process_files() / name for name in ("x.json", "x", f"{os.getpid()}.json", f"{'9' * 40}-1.00", "1-x")}
    for path in strangers:
        path.write_text("{}")
    environment = os.environ | {"DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "lemon_market.settings"}
    command = [sys.executable, "-c", REGISTERED]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert registered_pids() == [worker.pid]
        psutil.Process(worker.pid).suspend()
        assert kill_registered_processes() == 1
    assert registered_pids() == []
    assert set(process_files().iterdir()) == strangers
