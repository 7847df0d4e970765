"""Run folders as training would leave them, with numbers of a known distribution."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lra.files import sealed, sha256
from lra.paths import SEALED_FILES
from lra.sealing import write_sealed_csv

CLASSES = {"listops": 10, "text": 2, "retrieval": 2, "pathfinder": 2, "image": 10}
TEST_ROWS = 400


def labels(task, rows=TEST_ROWS):
    return np.random.default_rng(len(task)).integers(0, CLASSES[task], rows).astype(np.uint8)


def answers(label, accuracy, seed, classes):
    """Predictions of which exactly a share `accuracy` is right, the same easy examples first in every run."""
    rng = np.random.default_rng(seed)
    ease = np.linspace(1, 0, len(label)) + rng.normal(0, 0.1, len(label))
    wrong = np.argsort(-ease)[round(accuracy * len(label)) :]
    prediction = label.copy()
    prediction[wrong] = (label[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return prediction


def write_run(root, task, attention, seed=1, accuracy=0.5, *, rows=TEST_ROWS, step_ms=20.0, status="ok", reason="",
              steps=500, every=50, data="d" * 64, **more):  # fmt: skip
    """Write <root>/<task>/<attention>/seed-<seed>/ and return its metrics.json."""
    folder = Path(root, task, attention, f"seed-{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    label, ok = labels(task, rows), status == "ok"
    prediction = answers(label, accuracy, seed, CLASSES[task])
    empty = np.zeros(0, np.uint8)
    pq.write_table(
        pa.table({"label": label if ok else empty, "prediction": prediction if ok else empty}),
        folder / "predictions.parquet",
    )
    history = _history(task, accuracy, seed, step_ms, steps, every)
    lines = ["step,seconds,learning_rate,train_loss,dev_loss,dev_accuracy"]
    lines += [",".join(f"{value:.10g}" for value in row) for row in history]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    metrics = {
        "status": status,
        "reason": reason,
        "task": task,
        "attention": attention,
        "seed": seed,
        "settings": {
            "task": task,
            "attention": {"name": attention, "features": 32, "options": {}, "module": f"lra.attention.x:{attention}"},
            "seed": seed,
            "model": {"layers": 2, "embedding": 64},
            "train": {"batch": 64, "steps": steps, "precision": "fp32"},
        },
        "max_steps": None,
        "code": f"code-of-{attention}",
        "data": data,
        "data_settings": {"source": "generate", "rows": {"train": 8000, "dev": 300, "test": rows}},
        "machine": {"device": "a processor", "threads": 1, "python": "3.11.7", "torch": "2.13.0"},
        "started": f"2026-11-24T22:{10 + seed}:00+00:00",
        "wall_seconds": step_ms * steps / 900,
        "majority_accuracy": float(np.bincount(label).max() / rows),
        "test_rows": rows,
        "max_length": 2048,
        "test_accuracy": float((label == prediction).mean()) if ok else None,
        "test_loss": 1.0 if ok else None,
        "dev_accuracy": history[-1][5] if ok else None,
        "dev_loss": history[-1][4] if ok else None,
        "best_step": steps if ok else None,
        "steps": steps,
        "train_seconds": step_ms * steps / 1000,
        "micro_batch": 64,
        "parameters": 85898,
        "peak_memory_bytes": 560_000_000,
    } | more
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics))
    return reseal(path)


def reseal(path, **changes):
    """Give a metrics.json the checksums of what is there, as if the run had written it; returns the path."""
    metrics = json.loads(path.read_text()) | changes
    metrics["files"] = {name: sha256(path.parent / name) for name in SEALED_FILES if (path.parent / name).exists()}
    path.write_text(json.dumps(sealed(metrics), indent=1))
    return path


def _history(task, accuracy, seed, step_ms, steps, every):
    rng = np.random.default_rng([seed, len(task)])
    start, end = np.log(CLASSES[task]), np.log(CLASSES[task]) * (1.25 - accuracy)
    rows = []
    for step in range(every, steps + 1, every):
        loss = end + (start - end) * np.exp(-4 * step / steps) + rng.normal(0, 0.004)
        seconds = step * step_ms / 1000 * (1 + rng.normal(0, 0.01))
        rows.append((step, seconds, 1e-4, loss, loss + 0.02, accuracy * (1 - np.exp(-4 * step / steps))))
    return rows


def write_measure(root, task, attention, step_ms=20.0, *, status="ok", reason="", **more):
    """Write <root>/<task>/<attention>/measure.json and return it."""
    results = {
        "precision": "fp32",
        "batch": 2,
        "extrapolated": True,
        "ratio": step_ms / 40,
        "ratio_low": step_ms / 41,
        "ratio_high": step_ms / 39,
        "real_ratio": step_ms / 20,
        "real_ratio_low": step_ms / 21,
        "real_ratio_high": step_ms / 19,
        "train_ms": {"median": step_ms, "low": 0.9 * step_ms, "high": 1.2 * step_ms, "repeats": 5},
        "peak_memory_bytes": 128 * 2**20,
        "fixed_memory_bytes": 2**20,
        "memory_per_example_bytes": int(step_ms * 2**20),
        "memory_bytes": 16 * 2**30,
        "accumulation_steps": 4,
        "seconds_per_1000_steps": step_ms * 128,
        "flops_forward": int(step_ms * 3e6),
        "flops_attention": int(step_ms * 1e6),
        "flops_formula": int(step_ms * 1.1e6),
    }
    measure = {
        "status": status,
        "reason": reason,
        "task": task,
        "attention": attention,
        "length": 2048,
        "towers": 1,
        "device": "cpu",
        **(results if status == "ok" else {}),
        "paper_batch": 256,
        "machine": {"device": "a processor", "threads": 2},
        "settings": {"attention": {"name": attention, "features": 32}, "precision": "fp32"},
        "code": "code",
    }
    path = Path(root, task, attention, "measure.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sealed(measure | more)))
    return path


def write_frame(path, frame):
    """Write a data frame as `lra bench` and `lra approximate` write their rows."""
    rows = frame.astype(object).where(frame.notna(), None)
    write_sealed_csv(path, list(rows), rows.to_numpy().tolist())
