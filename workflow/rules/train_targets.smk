# What a run is trained with: functions of train.smk and tune.smk.


def get_seed(wildcards):
    """The seed of a job that trains."""
    return wildcards.get("seed", str(ARENA.seeds[0]))


def get_start(attention, task, seed):
    """The pretraining that a run starts from, if any: metrics and weights."""
    folder = paths.pretraining(ARENA.scale, task, attention, seed)
    return [folder / name for name in (paths.METRICS, paths.WEIGHTS)] if attention in ARENA.pretrained else []


def get_pretrained(wildcards, input):
    """The option of `lra train` that names the folder of this pretraining."""
    return f"--pretrained {shlex.quote(str(Path(input.start[0]).parent))}" if input.get("start") else ""


def get_pretrain_settings(wildcards):
    """What decides a pretraining besides code, data and seed, as JSON."""
    return as_json(pretraining(ARENA.experiment(wildcards.attention, wildcards.task, seed=0)))
