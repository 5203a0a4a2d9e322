"""The end of the process, while threads of the server may still be there."""

import os
import signal
from pathlib import Path

import pytest

from notifications.tests.talking import ServiceProcess

# A thread of the server that wants Python's lock while Python is taken apart would abort the process: this leaves it the time.
SLOW_FINALISER = """
import os
import time

class Slow:
    def __del__(self, sleep=time.sleep, write=os.write):
        write(2, b"Python is taken apart")
        sleep(2.0)

slow = Slow()
"""


@pytest.mark.usefixtures("transactional_db")
def test_it_ends_well_however_slow_the_threads_of_the_server_are(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SLOW_FINALISER)
    with ServiceProcess(tmp_path, PYTHONPATH=str(tmp_path)) as service:
        processor = {max(os.sched_getaffinity(0))}
        for thread in (int(task.name) for task in Path(f"/proc/{service.pid}/task").iterdir()):
            os.sched_setaffinity(thread, processor)
            if thread != service.pid:
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
        assert (service.stop(signal.SIGTERM), service.said()) == (0, "")
