# Targets of the measurements: functions of measure.smk.

from lra.attention.registry import resolve
from lra.cli.cost import EXACT, measure_fingerprint
from lra.config.arena import TEXTS


def get_measures():
    """The measured costs of each attention on each task; the same at every scale."""
    return [paths.measurement(task, attention) for task in ARENA.tasks for attention in ARENA.attentions]


def get_measure_settings(wildcards):
    """Settings of measuring an attention's cost, for each task, as JSON."""
    settings = {task: as_mapping(ARENA.measure_settings(wildcards.attention, task)) for task in ARENA.tasks}
    return json.dumps(settings, sort_keys=True)


def get_measure_code(wildcards):
    """Fingerprint of the code that can change an attention's measurements."""
    return measure_fingerprint(wildcards.attention, ARENA.attentions[wildcards.attention].module)


def get_approximate_settings(wildcards):
    """Settings of measuring an attention's approximation error, as JSON."""
    return json.dumps(as_mapping(ARENA.approximate_settings(wildcards.attention)), sort_keys=True)


def get_bench_settings():
    """Settings of the attentions whose cores are timed, as a list in JSON."""
    return json.dumps([as_mapping(ARENA.measured_attention(name)) for name in ARENA.attentions], sort_keys=True)


def get_bench_codes():
    """Fingerprints of the code that can change these times, in the same order, as a list in JSON."""
    return json.dumps([get_code(name, "lra.cost.attention_core") for name in ARENA.attentions])


def get_approximating():
    """The attentions to compare with exact attention, if the text task is run."""
    exact = resolve(EXACT).path
    return [name for name, method in ARENA.attentions.items() if method.module != exact and TEXTS in ARENA.tasks]


def get_approximations():
    """The errors of every approximation."""
    return [paths.approximation(ARENA.scale, attention) for attention in get_approximating()]


def get_exact_run():
    """Metrics and weights of the run whose layers are approximated, if exact attention is trained."""
    names = [paths.METRICS, paths.WEIGHTS] if EXACT in ARENA.attentions else []
    return [paths.run(ARENA.scale, TEXTS, EXACT, ARENA.seeds[0]) / name for name in names]


def get_approximate_code(wildcards):
    """Fingerprint of the code that can change an attention's errors: its own and that of exact attention."""
    exact = resolve(EXACT).path.partition(":")[0]
    return fingerprint("lra.cost.approximation_error", get_module(wildcards.attention), exact)


def get_all_cores(wildcards):
    """All cores, so that a measurement runs alone; on a cluster, which hides their number, the threads of training."""
    return workflow.resource_settings.cores or ARENA.settings["threads"]


def get_resources_alone(runtime=30):
    """Memory in MB, minutes and GPUs of a job that measures; on a cluster, it has a node of its own."""
    return {
        "mem_mb": get_more(16000),
        "runtime": get_more(runtime),
        "gpu": GPUS,
        "slurm_extra": "'--exclusive'",
    }
