"""A GCS that is killed while Ray starts is started again, and nothing is left of it."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from peftcore.engine.revival import LOOK_SECONDS, PORT, SERVER, Revival

LISTENS = f"""
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[-1].removeprefix("{PORT}"))))
time.sleep(60)
"""


def ports(process: psutil.Process) -> list[int]:
    return [one.laddr.port for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]


def living() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [one for one in children if one.status() != psutil.STATUS_ZOMBIE and one.name() == SERVER]


def until(holds) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def gcs(tmp_path):
    """A program of that name that listens at the port that it is given, or chooses, and does nothing else."""
    (tmp_path / "serve.py").write_text(LISTENS)
    program = tmp_path / SERVER
    program.symlink_to(sys.executable)
    started = []

    def start() -> subprocess.Popen:
        started.append(subprocess.Popen([str(program), str(tmp_path / "serve.py"), f"{PORT}0"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_what_is_killed_comes_back_at_its_port_and_goes_with_the_watch(gcs):
    with Revival() as revival:
        gcs()
        until(lambda: living() and ports(living()[0]))
        [first] = living()
        [port] = ports(first)
        time.sleep(5 * LOOK_SECONDS)
        assert not revival.was_needed
        for _ in range(2):
            killed = living()[0]
            killed.kill()
            until(lambda killed=killed: [one for one in living() if one.pid != killed.pid and ports(one) == [port]])
        assert revival.was_needed
    assert living() == []


def test_what_was_there_before_and_what_lives_is_left_alone(gcs):
    earlier = gcs()
    with Revival() as revival:
        earlier.kill()
        gcs()
        time.sleep(5 * LOOK_SECONDS)
    assert not revival.was_needed and len(living()) == 1
