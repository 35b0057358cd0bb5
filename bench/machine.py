"""Facts about the machine, without which no figure says anything."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine_facts() -> dict[str, object]:
    """Return processor, memory, load of the last minute, and versions."""
    return {
        "cpus": os.cpu_count(),
        "processor": _first("/proc/cpuinfo", "model name"),
        "memory_gb": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "httpx": version("httpx"),
        "asyncpg": version("asyncpg"),
    }


def _first(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0 unknown"
