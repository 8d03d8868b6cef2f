"""What one core of the simulator sends: dispatches per second by kind and compression, to a client that just reads.

Prints a table and, last, one line of JSON. The reader is a process of its own that throws the bytes away.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import Any

MIXES = ("messages", "presences", "guilds", "mixed")
COMPRESSIONS = ("none", "zlib-stream", "zstd-stream")
TOKEN = "benchmark"  # noqa: S105 - any text
_TIMEOUT_S = 20.0


def call(url: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    """GET, or POST a JSON body, and return the JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=_TIMEOUT_S) as response:  # noqa: S310
        return json.loads(response.read())


def mask(payload: bytes) -> bytes:
    """Return a client's text frame around a payload of at most 65535 bytes."""
    key = os.urandom(4)
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def read_only(gateway_url: str, compress: str) -> None:
    """Identify, then read and forget everything until killed."""
    host, port = re.fullmatch(r"ws://(.+):(\d+)", gateway_url).groups()  # type: ignore[union-attr]
    query = f"/?v=10&encoding=json{'' if compress == 'none' else f'&compress={compress}'}"
    with socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET {query} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        properties = {"os": "linux", "browser": "benchmark", "device": "benchmark"}
        intents = sum(1 << bit for bit in range(17))
        identify = {"op": 2, "d": {"token": TOKEN, "intents": intents, "properties": properties, "shard": [0, 1]}}
        connection.sendall(mask(json.dumps(identify).encode()))
        buffer = bytearray(1 << 20)
        while connection.recv_into(buffer):
            pass


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(mix: str, compress: str, seconds: float) -> dict[str, Any]:
    """Run one simulator and one reader, and return the rates."""
    command = [sys.executable, "-m", "gateway_sim.cli", "--token", TOKEN, "--guilds", "50", "--large-guilds", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None  # noqa: S101 - it was asked for
        urls = json.loads(simulator.stdout.readline())
        reader = subprocess.Popen([sys.executable, __file__, "--reader", urls["gateway_url"], compress])
        try:
            return {"mix": mix, "compress": compress, **_watch(urls["control_url"], simulator.pid, mix, seconds)}
        finally:
            reader.kill()
            reader.wait()
            simulator.send_signal(signal.SIGTERM)
            simulator.communicate(timeout=_TIMEOUT_S)


def _watch(control: str, pid: int, mix: str, seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + _TIMEOUT_S
    while not any(not session["guilds_pending"] for session in call(f"{control}/sessions")):
        if time.monotonic() > deadline:
            raise SystemExit("The reader got no session.")
        time.sleep(0.05)
    call(f"{control}/traffic", {"rate": "max", "mix": mix})
    time.sleep(1.0)
    before, before_bytes, before_cpu, began_at = _state(control, pid)
    time.sleep(seconds)
    after, after_bytes, after_cpu, ended_at = _state(control, pid)
    count, cpu = after - before, after_cpu - before_cpu
    return {
        "per_s": round(count / (ended_at - began_at)),
        "per_cpu_s": round(count / cpu),
        "mb_per_s": round((after_bytes - before_bytes) / (ended_at - began_at) / 1e6, 1),
        "bytes_each": round((after_bytes - before_bytes) / max(count, 1)),
    }


def _state(control: str, pid: int) -> tuple[int, int, float, float]:
    connections = call(f"{control}/connections")
    return call(f"{control}/verdict")["sent"], connections[0]["bytes_sent"], cpu_s(pid), time.monotonic()


def main() -> None:
    """Run the benchmark, or the reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--reader", nargs=2, metavar=("URL", "COMPRESS"))
    arguments = parser.parse_args()
    if arguments.reader:
        read_only(*arguments.reader)
        return
    results = []
    print(f"{'mix':<10} {'compress':<12} {'per s':>8} {'per CPU-s':>10} {'MB/s':>7} {'bytes each':>10}")
    for mix in MIXES:
        for compress in COMPRESSIONS:
            row = measure(mix, compress, arguments.seconds)
            results.append(row)
            print(
                f"{mix:<10} {compress:<12} {row['per_s']:>8} {row['per_cpu_s']:>10} {row['mb_per_s']:>7} "
                f"{row['bytes_each']:>10}"
            )
    print(json.dumps({"benchmark": "simulator_rate", "results": results}))


if __name__ == "__main__":
    main()
