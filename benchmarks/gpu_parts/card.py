"""What the device is, whether torch runs on it, and its limits: bytes copied and operations done in a second."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import torch

from gpu_parts.record import Record
from gpu_parts.sizes import Sizes
from gpu_parts.turns import Turns
from lra.cost.limits import measure_limits
from lra.devices import default_device, machine

GIB = 2**30


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """A line about the device, and one for each type of number; a device that torch cannot use is a one-line error."""
    default_device()
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    found = machine(device, os.cpu_count() or 1) | {"cuda": torch.version.cuda, "commit": commit or None}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "memory_gib": properties.total_memory / GIB,
            "processors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
        }
    else:
        found["note"] = "no GPU: a reduced run that tests this program; its times say nothing"
    record.add(**found)
    for dtype in (torch.bfloat16, torch.float32):
        limits = measure_limits(device, dtype)
        record.add(limits=str(dtype), copy_gb_s=limits.copy_gb_s, matmul_tflop_s=limits.matmul_tflop_s)
