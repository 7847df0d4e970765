# What is tried and which learning rate was chosen: functions of tune.smk and train.smk.

from lra.results.choice import read_choice

RATES = [f"rate-{rate}" for rate in ARENA.tune.learning_rate] if ARENA.tune else []


def get_tried_manifest(wildcards):
    """The manifest of a try's task."""
    return get_manifest(wildcards.task)(wildcards)


def get_tried_shards(wildcards):
    """The shards of a try's task where a storage plugin keeps all files."""
    return get_stored_shards(wildcards.task)


def get_try_settings(wildcards):
    """What decides a try besides code and data, without its seed, as JSON."""
    experiment = ARENA.tries(wildcards.attention, wildcards.task)[wildcards.rate]
    return as_json(experiment)


def get_tries(wildcards):
    """Metrics of every try of a cell."""
    folder = paths.tuning(ARENA.scale, wildcards.task, wildcards.attention)
    return [folder / rate / paths.METRICS for rate in RATES]


def get_choices():
    """The choice of every cell; none where nothing is tuned."""
    cells = [(task, attention) for task in ARENA.tasks for attention in ARENA.attentions if ARENA.tune]
    return [paths.choice(ARENA.scale, task, attention) for task, attention in cells]


def get_choice(attention, task):
    """An input function that waits until a cell's learning rate is chosen, and then asks for nothing.

    The runs have the chosen rate in their settings. With the file as an input, whatever else it says would repeat them.
    """

    def wait(wildcards):
        checkpoints.choose_rate.get(task=task, attention=attention)
        return []

    return wait if ARENA.tune else []


def get_tuned_settings(attention, task):
    """What decides a run of a cell, with the learning rate that was chosen for it, as JSON; where nothing is tuned, as
    :func:`get_settings` says it."""

    def settings(wildcards):
        choice = checkpoints.choose_rate.get(task=task, attention=attention).output[0]
        try:
            return get_settings(attention, task, learning_rate=read_choice(Path(choice))["learning_rate"])
        except LraError as error:
            sys.exit(f"Error: {error}")

    return settings if ARENA.tune else get_settings(attention, task)
