# What is measured, and where it goes: functions of measure.smk.

from lra.attention.registry import resolve
from lra.cli.cost import EXACT
from lra.config.arena import TEXTS

APPROXIMATION = f"results/approximation/{ARENA.scale}"


def get_measure(attention, task):
    """The file that holds what training an attention on a task costs; the same at every scale."""
    return f"results/measures/{task}/{attention}/measure.json"


def get_measures():
    """All of them."""
    return [get_measure(attention, task) for task in ARENA.tasks for attention in ARENA.attentions]


def get_approximating():
    """The attentions to compare with the exact one, if the texts to do so are prepared."""
    return [name for name, method in ARENA.attentions.items() if not is_exact(method)] if TEXTS in ARENA.tasks else []


def is_exact(method):
    """Whether this is exact attention itself."""
    return method.module == resolve(EXACT).path


def get_approximations():
    """The errors of every approximation."""
    return [f"{APPROXIMATION}/{attention}.csv" for attention in get_approximating()]


def get_approximation_plots():
    """The plot of all errors, if there are any."""
    return expand(
        "results/plots/approximation.{kind}",
        kind=["png", "svg"] if get_approximating() else [],
    )


def get_exact_run():
    """Metrics and weights of the run whose layers are approximated, where exact attention is among what is trained."""
    return expand(
        f"{get_run(EXACT, TEXTS, ARENA.seeds[0])}/{{name}}",
        name=["metrics.json", "model.safetensors"] if EXACT in ARENA.attentions else [],
    )


def get_benched():
    """The attentions whose cores are timed at several lengths."""
    return list(ARENA.attentions) if ARENA.bench else []


def get_bench(attention):
    """The file that holds an attention's times."""
    return f"results/benchmarks/attention/{attention}.csv"


def get_bench_plots():
    """The plot of all times, if there are any."""
    return expand("results/plots/bench.{kind}", kind=["png", "svg"] if ARENA.bench else [])


def get_all_cores(wildcards):
    """Every core, so that nothing runs beside a measurement; on a cluster, where that is unknown, as for training."""
    return workflow.resource_settings.cores or ARENA.settings["threads"]
