"""What an interrupted run leaves behind: its lock, and files with times of a wrong clock."""

import os
import subprocess
import sys
import time

from llamanas import leftovers


def locked(folder) -> bool:
    return any((folder / ".snakemake/locks").iterdir())


def leave_lock(folder) -> None:
    (folder / ".snakemake/locks").mkdir(parents=True, exist_ok=True)
    (folder / ".snakemake/locks/0.output.lock").write_text("results/x\n")


def test_a_lock_is_removed_where_its_process_was_killed_here(tmp_path):
    code = f"from llamanas import leftovers; held = leftovers.take(leftovers.Path({str(tmp_path)!r})); "
    subprocess.run([sys.executable, "-c", code + "leftovers.os.kill(leftovers.os.getpid(), 9)"],
                   env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    leave_lock(tmp_path)
    assert leftovers.take(tmp_path) and not locked(tmp_path)


def test_a_lock_of_a_running_process_stays(tmp_path):
    held = leftovers.take(tmp_path)
    leave_lock(tmp_path)
    assert held and leftovers.take(tmp_path) is None and locked(tmp_path)


def test_a_lock_of_another_machine_or_of_an_unknown_one_stays(tmp_path):
    leave_lock(tmp_path)
    held = leftovers.take(tmp_path)
    assert held and locked(tmp_path)
    held.close()
    (tmp_path / ".snakemake/llamanas.lock").write_text("elsewhere")
    assert leftovers.take(tmp_path) and locked(tmp_path)


def test_times_in_the_future_come_back_in_their_order(tmp_path):
    now = time.time()
    for name, ahead in (("old", -50), ("third", 5000), ("first", 3000), ("second", 4000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now + ahead, now + ahead))
    assert leftovers.mend_times(tmp_path) == 3
    times = {path.name: path.stat().st_mtime for path in tmp_path.iterdir()}
    assert sorted(times, key=lambda name: times[name]) == ["old", "first", "second", "third"]
    assert times["third"] <= time.time() and abs(times["old"] - (now - 50)) < 1
    assert leftovers.mend_times(tmp_path) == leftovers.mend_times(tmp_path / "nowhere") == 0
