"""A separate disk for the installation, so that it can be filled; only root can mount one."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

# More than ten minutes of a trial need.
SIZE = "3g"


@contextmanager
def own_disk(data_dir: Path) -> Iterator[None]:
    """Mount a disk for `data_dir`, and one for the simulated exchange's book, which the verdict needs for its comparison."""
    with ExitStack() as mounted:
        if os.geteuid() == 0:
            for place in (data_dir, data_dir / "exchange"):
                place.mkdir()
                if not mount(place):
                    break
                mounted.callback(unmount, place)
        yield


def mount(place: Path) -> bool:
    """Try to mount a disk; return whether we may."""
    command = ["/bin/mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def unmount(place: Path) -> None:
    # Lazily: a killed process may still use it for a moment.
    subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)


def fill_for(data_dir: Path, seconds: float) -> None:
    """Fill the disk that is mounted there, for so many seconds."""
    filling = data_dir / "filling"
    try:
        with filling.open("ab", buffering=0) as file:
            free = os.statvfs(data_dir)
            # Others write at the same time, so take the rest in small pieces until nothing is left.
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize * 9 // 10)
            with suppress(OSError):
                while True:
                    file.write(bytes(65536))
            time.sleep(seconds)
    finally:
        filling.unlink()
