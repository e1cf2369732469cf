"""torchvision can be imported beside a different build of torch, also while another thread starts processes."""

from __future__ import annotations

import subprocess
import sys

IMPORTS_BESIDE_FORKS = """
import peftcore, subprocess, threading

done = threading.Event()

def fork():
    while not done.is_set():
        subprocess.run(["true"], preexec_fn=lambda: None)  # as Ray does
        done.wait(0.002)  # a fork copies a process that grows: without a pause the import hardly gets its turn

thread = threading.Thread(target=fork, daemon=True)
thread.start()
import timm, torchvision, inspect
done.set()
thread.join(20)
print(len(inspect.getsource(torchvision)) > 0)
"""


def test_import_does_not_lock_up_beside_a_thread_that_forks():
    done = subprocess.run([sys.executable, "-c", IMPORTS_BESIDE_FORKS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True"]
