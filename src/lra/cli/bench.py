"""``lra bench``: the time and memory of attention cores."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from dataclasses import astuple, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from lra import paths
from lra.attention.registry import ALIASES, names
from lra.cli.console import add_config, as_json, at_least, lookup
from lra.cli.cost import attention_module
from lra.config.arena import find
from lra.config.mapping import as_mapping, from_mapping
from lra.config.settings import AttentionSettings
from lra.files import checksum
from lra.fingerprint import fingerprint

LENGTHS = [512, 1024, 2048, 4096, 8192]
"""Positions of a sequence, by default."""


def add_command(commands: Any) -> None:
    """Add ``bench`` to the parsers of :mod:`lra.cli.main`."""
    bench = commands.add_parser("bench", help="time every attention's core against exact attention")
    bench.add_argument(
        "--attentions",
        nargs="+",
        metavar="NAME",
        help="names, including your own in config.yaml, or file.py:Class (default: all)",
    )
    bench.add_argument(
        "--lengths", nargs="+", metavar="N", type=at_least(1), default=LENGTHS, help="default: 512 to 8192"
    )
    bench.add_argument(
        "--features",
        type=at_least(1),
        help="the methods' budget d (default: `measure.features` of config.yaml, or 256)",
    )
    bench.add_argument("--repeats", type=at_least(1), default=7, help="timed pairs at each length (default: 7)")
    bench.add_argument(
        "--settings", type=as_json(list), help="JSON list of attentions with all their settings, instead of config.yaml"
    )
    add_config(bench, "gives options, and names of your own")
    bench.add_argument("--codes", type=as_json(list), help=argparse.SUPPRESS)
    bench.add_argument(
        "--stale",
        action="store_true",
        help="keep the rows of attentions that the same code has timed with the same settings",
    )
    bench.add_argument("--out", type=Path, default=paths.TRIED_BENCH, help=f"default: {paths.TRIED_BENCH}")
    bench.add_argument(
        "--threads", type=at_least(1), default=os.cpu_count() or 1, help="CPU threads (default: one for each core)"
    )
    bench.set_defaults(run=run_bench)


def run_bench(options: argparse.Namespace) -> None:
    """Time the attentions in one process, which loads torch once."""
    from lra.cost.attention_core import benchmark, read_rows, report, write_rows

    blocks = options.settings
    if blocks is None:
        blocks = attentions_to_bench(options.config, options.attentions, options.features)
    attentions = [from_mapping(AttentionSettings, one, "--settings") for one in blocks]
    codes = options.codes or [bench_fingerprint(one) for one in attentions]
    keys = {
        one.name: checksum(
            {"attention": as_mapping(one), "lengths": options.lengths, "repeats": options.repeats, "code": code}
        )
        for one, code in zip(attentions, codes, strict=True)
    }
    kept = options.out.with_suffix(".kept.csv")  # Snakemake deletes the table before it asks for another one
    table: dict[str, Sequence[Sequence[object]]] = dict(read_rows(kept) if options.stale else {})
    for name in [name for name, key in keys.items() if key in table]:
        print(f"{name}: timed already, {kept}")
    stale = [attention for attention in attentions if keys[attention.name] not in table]
    timed = benchmark(stale, options.lengths, repeats=options.repeats, threads=options.threads)
    for name, group in itertools.groupby(timed, key=attrgetter("attention")):
        rows = []
        for row in group:
            report(row)
            rows.append(astuple(replace(row, key=keys[name])))
        table[keys[name]] = rows
        if options.stale:
            write_rows(itertools.chain.from_iterable(table.values()), kept)
    write_rows((row for key in keys.values() for row in table[key]), options.out)


def bench_fingerprint(attention: AttentionSettings) -> str:
    """Fingerprint of the code that decides the time of an attention's core."""
    return fingerprint("lra.cost.attention_core", attention_module(attention.name, attention.module))


def attentions_to_bench(
    config: Sequence[str], wanted: Sequence[str] | None, features: int | None
) -> list[dict[str, Any]]:
    """``AttentionSettings`` as mappings, from config.yaml for the attentions that it lists.

    Args:
        config: what ``--config`` gives.
        wanted: names or ``file.py:Class``; None for all methods and those of config.yaml.
        features: budget d of all; None for that of ``measure``, or the default.

    Raises:
        LraError: there is no such method.
    """
    arena = find(*config)
    configured = arena.attentions if arena else {}
    known = dict.fromkeys([*names(), *configured])
    blocks = []
    for name in (ALIASES.get(name, name) for name in wanted or known):
        if ":" not in name:
            lookup(name, known, "attention")
        settings = as_mapping(arena.measured_attention(name)) if arena and name in configured else {"name": name}
        blocks.append(settings | ({"features": features} if features else {}))
    return blocks
