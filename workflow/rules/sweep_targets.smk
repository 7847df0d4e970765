# Targets of the sweep: functions of sweep.smk.

SWEEP = ARENA.sweep


def get_swept(name):
    """The file called `name` of every run of the sweep, if there is one."""
    return [
        paths.swept_run(ARENA.scale, cell, seed) / name
        for cell in (SWEEP.cells() if SWEEP else [])
        for seed in ARENA.seeds
    ]


def get_sweep_settings(wildcards):
    """The resolved settings of a run of the sweep, as JSON."""
    batch, learning_rate = SWEEP.cells()[wildcards.cell]
    return get_settings(SWEEP.attention, SWEEP.task, batch=batch, learning_rate=learning_rate)
