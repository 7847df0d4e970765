"""What the device is, and whether torch runs on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import torch

from gpu_parts.record import Record
from gpu_parts.sizes import Sizes
from lra.devices import default_device, machine

GIB = 2**30


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device) -> None:
    """One line; what torch cannot use is told in a sentence."""
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
