"""The results as one page of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpu_parts.record import Result, describe, short

Results = dict[str, list[Result]]


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
    """Ratios to exact attention without a mask: default, strict and compiled, against the target."""
    found = [describe(one) for one in results if "limits" in one or one["attention"] == "exact"]
    timed = [one for one in results if "strict_ratio" in one]
    lengths = [length for (length,) in ordered(timed, "length")]
    found.append(f"{'ratio, strict, compiled (target)':32}" + "".join(f"{length:>30}" for length in lengths))
    for (name,) in ordered(timed, "attention"):
        cells = []
        for length in lengths:
            both = {one["compiled"]: one for one in timed if (one["attention"], one["length"]) == (name, length)}
            plain, compiled = both.get(False, {}), both.get(True, {})
            target = plain.get("target")
            ratios = [plain.get("ratio"), plain.get("strict_ratio"), compiled.get("strict_ratio")]
            cells.append(" ".join(number(one) for one in ratios) + (f" ({target})" if target else ""))
        found.append(f"{name:32}" + "".join(f"{cell:>30}" for cell in cells))
    return found


def steps(results: list[Result]) -> list[str]:
    """Milliseconds of a step uncompiled and compiled, seconds of compiling, graphs, and memory."""
    found = []
    for task, name in ordered(results, "task", "attention"):
        both = {one["compiled"]: one for one in results if (one["task"], one["attention"]) == (task, name)}
        plain, compiled = both.get(False, {}), both.get(True, {})
        found.append(
            f"{task:11} {name:18} eager {number(plain.get('ms'))} ms, compiled {number(compiled.get('ms'))} ms (host "
            f"{number(compiled.get('host_ms'))}), {short(compiled.get('graphs', '-'))} graphs in "
            f"{number(compiled.get('compile_seconds'))} s, {number(plain.get('peak_gib'))} and "
            f"{number(compiled.get('peak_gib'))} GiB" + (" NOT COMPILED" if compiled.get("fell_back_to_eager") else "")
        )
    return found


def launches(results: list[Result]) -> list[str]:
    """A line a method, then its kernels of most time."""
    found = []
    for one in results:
        found.append(f"{one['attention']:18} {one['launches']} launches, {number(one['ms'])} ms")
        found += [f"    {number(ms):>8} ms {count:>5} x {name}" for name, count, ms in one["kernels"]]
    return found


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else f"{value:.3g}"


def ordered(results: list[Result], *names: str) -> list[tuple]:
    """The values that there are, in order of appearance."""
    return list(dict.fromkeys(tuple(one[name] for name in names) for one in results))


PAGES: dict[str, Callable[[list[Result]], list[str]]] = {
    "correctness": correctness,
    "identity": identity,
    "compiled": identity,
    "cores": cores,
    "steps": steps,
    "launches": launches,
}
