"""Files of reference/ as ``lra publish`` writes them, as far as the table reads them."""

import base64
import json
from pathlib import Path

import numpy as np

from lra.files import read_json, sealed
from lra.results.reading import Run


def publish(run, folder, scale="paper", **changes):
    """Write a run, the path of its metrics.json, to ``folder``; returns the file. Changes are of the metrics."""
    metrics = read_json(run)
    label, prediction = Run(Path(run).parent, metrics).predictions()
    packed = base64.b64encode(np.packbits(label == prediction).tobytes()).decode()
    path = Path(folder, scale, metrics["task"], metrics["attention"], f"seed-{metrics['seed']}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sealed({"metrics": metrics | changes, "correct": packed})))
    return path
