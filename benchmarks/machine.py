"""The facts of the machine and of the software, without which no time means anything."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyro
import torch


def machine_facts(device: torch.device | str = "cpu") -> dict[str, Any]:
    """CPU, memory, threads, versions, date and commit; of a GPU its name and how it multiplies."""
    facts: dict[str, Any] = {
        "cpu": _after_colon("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }
    if torch.device(device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["float32_products"] = matmul_setting()
    return facts


def matmul_setting() -> str:
    """How a GPU multiplies matrices of float32."""
    precision = torch.get_float32_matmul_precision()
    return f"precision {precision!r}: {'no TF32' if precision == 'highest' else 'TF32 allowed'}"


def status_mb(key: str) -> float | None:
    """A field of this process's status in megabytes, such as RssAnon; None where there is none."""
    said = _after_colon("/proc/self/status", key)
    return int(said.split()[0]) / 1024 if said else None


def _memory_gb() -> float | None:
    said = _after_colon("/proc/meminfo", "MemTotal")
    return round(int(said.split()[0]) / 2**20, 1) if said else None


def _after_colon(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), None)


def _commit() -> str | None:
    """The commit of this checkout, marked where files differ from it."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} and changes" if changes else commit
