"""Peak memory counts the processes below this one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.util.memory import peak_resident_bytes, peak_resident_bytes_of_children

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "block = bytearray(200 << 20); del block; print('ready', flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), flush=True)
input()
child.communicate()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_of_children_and_theirs_is_counted_while_they_run() -> None:
    before = peak_resident_bytes_of_children()
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    assert peak_resident_bytes_of_children() - before > 200 << 20  # freed by now, but it was the peak
    process.communicate()
    assert peak_resident_bytes_of_children() - before < 100 << 20
    assert peak_resident_bytes() > 10 << 20
