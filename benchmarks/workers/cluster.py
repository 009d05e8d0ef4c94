"""A Ray cluster of several nodes on this machine, in a network namespace of its own where the system lets us."""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STORE = 200 << 20
"""Bytes of each node's object store."""
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def isolate() -> bool:
    """Move this process into a network namespace with nothing but the loopback interface; False where the system forbids it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK if os.geteuid() == 0 else _NEW_USER | _NEW_NETWORK):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(loopback, _GET_FLAGS, request))
        fcntl.ioctl(loopback, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
    return True


@dataclass
class LocalCluster:
    """A head without processors, and nodes with one processor each, at loopback addresses.

    Attributes:
        address: HOST:PORT.
        nodes: those that are alive, by address.
        processes: those of nodes in mount namespaces of their own.
    """

    address: str
    cluster: Any
    nodes: dict[str, Any] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _next: int = 2

    def add(self) -> None:
        """Add a node."""
        address = f"127.0.0.{self._next}"
        self._next += 1
        self.nodes[address] = self.cluster.add_node(
            num_cpus=1, wait=False, node_ip_address=address, object_store_memory=_STORE, include_dashboard=False
        )

    def add_without(self, folder: Path) -> None:
        """Add a node in a mount namespace of its own, in which a folder is empty; needs root."""
        address = f"127.0.0.{self._next}"
        self._next += 1
        ray = f"ray start --address={self.address} --node-ip-address={address} --num-cpus=1 --object-store-memory={_STORE} --block"
        command = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none '{folder}' && exec {Path(sys.executable).parent}/{ray}"]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))

    def remove(self, address: str) -> None:
        """End a node as a power failure does."""
        self.cluster.remove_node(self.nodes.pop(address), allow_graceful=False)


@contextmanager
def local_cluster(nodes: int) -> Iterator[LocalCluster]:
    """A cluster that RAY_ADDRESS names, with a token that only this process knows."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "error"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "object_store_memory": _STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    made = LocalCluster(cluster.address, cluster)
    try:
        for _ in range(nodes):
            made.add()
        cluster.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = made.address
        yield made
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        for process in made.processes:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        cluster.shutdown()  # type: ignore[no-untyped-call]  # not typed there


def isolated() -> str:
    """Isolate this process, and say in words whether that worked."""
    return "in a network namespace" if sys.platform == "linux" and isolate() else "without a network namespace"
