# One rule an attention x task. It trains the configured seed; of several seeds it asks `..._seed`, one job each.


include: "tune_targets.smk"


SEVERAL_SEEDS = len(ARENA.seeds) > 1
SEED = "{seed}" if SEVERAL_SEEDS else ARENA.seeds[0]
TRAIN = (
    "python -m lra train --settings {params.settings:q} --seed {params.seed} --code {params.code} "
    "--data $(dirname {input.manifest}) --out $(dirname {output.metrics}) --threads {threads} > {log} 2>&1"
)


def get_seed(wildcards):
    """The seed of a job that trains."""
    return wildcards.get("seed", str(ARENA.seeds[0]))


for attention in ARENA.attentions:
    for task in ARENA.tasks:

        rule:
            name:
                f"train_{attention}_{task}" + ("_seed" if SEVERAL_SEEDS else "")
            input:
                manifest=get_manifest(task),
                shards=get_stored_shards(task),
                choice=get_choice(attention, task),
            output:
                **get_run_files(paths.run(ARENA.scale, task, attention, SEED)),
            log:
                paths.log(ARENA.scale, "train", task, attention, paths.seed_name(SEED)),
            wildcard_constraints:
                seed=r"\d+",
            conda:
                "../../envs/train.yaml"
            threads: ARENA.settings["threads"]
            resources:
                **get_training_resources(),
            params:
                seed=get_seed,
                settings=get_tuned_settings(attention, task),
                code=get_code(attention),
            shell:
                TRAIN

        if SEVERAL_SEEDS:

            rule:
                name:
                    f"train_{attention}_{task}"
                input:
                    [paths.run(ARENA.scale, task, attention, seed) / paths.METRICS for seed in ARENA.seeds],
                localrule: True
