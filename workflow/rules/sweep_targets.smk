# What is swept, and where it goes: functions of sweep.smk.

SWEEP = ARENA.sweep
SWEPT = f"results/sweep/{ARENA.scale}/batch-{{batch}}_rate-{{learning_rate}}/seed-{{seed}}"


def get_swept(name):
    """The file called `name` of every run of the sweep, if there is one."""
    return [
        f"results/sweep/{ARENA.scale}/{cell}/seed-{seed}/{name}"
        for cell in (SWEEP.cells() if SWEEP else [])
        for seed in ARENA.seeds
    ]


def get_sweep_plots():
    """The plot of the sweep, if there is one."""
    return expand("results/plots/sweep.{kind}", kind=["png", "svg"] if SWEEP else [])


def get_sweep_settings(wildcards):
    """What decides a run of the sweep."""
    changes = {
        "batch": int(wildcards.batch),
        "learning_rate": float(wildcards.learning_rate),
    }
    return get_settings(SWEEP.attention, SWEEP.task, **changes)
