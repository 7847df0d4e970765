"""The results as one page of text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from gpu_parts.record import Result, describe

Results = dict[str, list[Result]]
EXACT = ("unmasked_ms", "masked_ms", "varlen_ms")


def table(found: Results, crashed: Sequence[str] = ()) -> str:
    """All parts that have results, then what is wrong."""
    blocks = []
    for part, results in found.items():
        good = [result for result in results if result.get("ok", True)]
        if results:
            blocks.append(f"## {part}\n" + "\n".join(PAGES.get(part, lines)(good)))
    wrong = [
        f"{part}: {describe(one)}" for part, results in found.items() for one in results if not one.get("ok", True)
    ]
    wrong += [f"{part}: the process crashed; its words are above" for part in crashed]
    reached = [part for part, results in found.items() if results]
    if missing := [part for part in found if part not in reached]:
        blocks.append(f"no results of: {', '.join(missing)}")
    blocks.append("## wrong\n" + "\n".join(wrong) if wrong else "nothing is wrong")
    return "\n\n".join(blocks) + "\n"


def lines(results: list[Result]) -> list[str]:
    """A line each."""
    return [describe(result) for result in results]


def correctness(results: list[Result]) -> list[str]:
    """A line a method and type: how many cases are right, and the worst of them."""
    found = []
    for name, dtype in ordered(results, "attention", "dtype"):
        cases = [one for one in results if (one["attention"], one["dtype"]) == (name, dtype)]
        worst = [max(one.get(what, 0.0) for one in cases) for what in ("output", "gradient")]
        found.append(f"{name:18} {dtype}  {len(cases)} right, error {worst[0]:.1e}, of gradients {worst[1]:.1e}")
    return found


def identity(results: list[Result]) -> list[str]:
    """A line a method."""
    return [
        f"{one['attention']:18} equal twice and through a kill"
        + (f"; compiling {one['compile_seconds']:.1f} s" if one["compiled"] else "")
        + ("; IT DOES NOT COMPILE, and ran uncompiled" if one["fell_back_to_eager"] else "")
        for one in results
    ]


def cores(results: list[Result]) -> list[str]:
    """Exact attention at every length, then the ratio of each method to it without a mask, and the target."""
    found = []
    lengths = [length for (length,) in ordered(results, "length")]
    for length in lengths:
        cases = [one for one in results if one["length"] == length]
        times = {name: [one[name] for one in cases if name in one] for name in EXACT}
        medians = [f"{name} {number(statistics.median(given))}" for name, given in times.items() if given]
        found.append(f"exact attention at {length}: {', '.join(medians)}")
    found.append(f"{'ratio (target)':18}" + "".join(f"{length:>18}" for length in lengths))
    for (name,) in ordered(results, "attention"):
        cells = {one["length"]: ratio(one) for one in results if one["attention"] == name}
        found.append(f"{name:18}" + "".join(f"{cells.get(length, '-'):>18}" for length in lengths))
    return found


def ratio(result: Result) -> str:
    """The ratio of a core, and the target in brackets."""
    target = f" ({result['target']})" if result["target"] else ""
    return number(result["ratio"]) + disturbed(result) + target


def steps(results: list[Result]) -> list[str]:
    """A line a method, then the kernels of each that take most time."""
    found = [
        f"{one['attention']:18} {number(one['ms'])}{disturbed(one)} ms, host {number(one['host_ms'])} ms, "
        f"{one['launches']} launches of {number(one['kernel_ms'])} ms, {number(one['peak_gib'])} GiB, "
        f"{one['graphs']} graphs in {number(one['compile_seconds'])} s, equal twice"
        + ("; IT DOES NOT COMPILE, and ran uncompiled" if one["fell_back_to_eager"] else "")
        for one in results
    ]
    for one in results:
        found.append(f"kernels of {one['attention']}")
        found += [f"    {number(ms):>8} ms {count:>5} x {name}" for name, count, ms in one["kernels"]]
    return found


def disturbed(result: Result) -> str:
    """A question mark behind a time that was measured while another process still compiled."""
    return "" if result["quiet"] else "?"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def ordered(results: list[Result], *names: str) -> list[tuple]:
    """The values that there are, in order of appearance."""
    return list(dict.fromkeys(tuple(one[name] for name in names) for one in results))


PAGES: dict[str, Callable[[list[Result]], list[str]]] = {
    "correctness": correctness,
    "identity": identity,
    "compiled": identity,
    "cores": cores,
    "steps": steps,
}
