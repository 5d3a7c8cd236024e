"""Short jobs among long ones over worker processes: none waits behind a running job while a worker is idle."""

import re
import subprocess
import sys

import pytest
from conftest import CHECKOUT, PATIENCE


@pytest.mark.checkout
def test_no_job_waits_behind_a_running_one_while_a_worker_is_idle() -> None:
    # Long jobs that are asleep keep their worker as those that burn a processor do, but the figure then is the balancing's alone.
    command = [sys.executable, "-m", "bench.uneven", "--asleep", "--rounds", "3"]
    told = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True).stdout
    waits = re.findall(r"^(.+): longest needless wait ([\d.]+) ms \(median of runs\), [\d.]+ ms \(at worst\)$", told, re.M)
    assert [name for name, _ in waits] == ["run 4", "run 4 window 1"]
    assert all(float(median) <= 5 for _, median in waits)
