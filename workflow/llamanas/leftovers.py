"""What an interrupted run leaves in the working directory and the next one must clear away. Imported while parsing."""

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import IO

AHEAD = 60  # seconds that a file may be in the future: clocks of two machines differ


def take(directory: Path) -> IO[str] | None:
    """Hold the directory until the process ends, and remove the lock of a Snakemake that was killed here.

    Snakemake's own lock outlives a killed process, so that the same command would be refused. This one does not, but
    it is known to this machine alone: a lock that was left on another one stays. None where another process holds the
    directory, which Snakemake then refuses, or nothing can be written.
    """
    state = directory / ".snakemake"
    try:
        state.mkdir(exist_ok=True)
        held: IO[str] = (state / "llamanas.lock").open("a+")
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    held.seek(0)
    if held.read() == socket.gethostname():
        for lock in (state / "locks").glob("*.lock"):
            lock.unlink(missing_ok=True)
    held.seek(0)
    held.truncate()
    held.write(socket.gethostname())
    held.flush()
    return held


def mend_times(results: Path) -> int:
    """Bring files that a wrong clock dated into the future back to now, in their order; how many there were.

    Snakemake ends a job whose output is older than its input, and would run it again for ever.
    """
    now = time.time_ns()
    times = {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}
    ahead = sorted((path for path in times if times[path] > now + AHEAD * 10**9), key=lambda path: times[path])
    for place, path in enumerate(ahead):
        os.utime(path, ns=(now, now - (len(ahead) - place) * 1000))
    return len(ahead)
