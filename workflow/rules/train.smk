# One rule for each attention and task. It trains the configured seed; for several seeds, `..._seed` trains one a job.


include: "tune_targets.smk"
include: "train_targets.smk"


SEVERAL_SEEDS = len(ARENA.seeds) > 1
SEED = "{seed}" if SEVERAL_SEEDS else ARENA.seeds[0]
TRAIN = (
    "python -m lra train --settings {params.settings:q} --seed {params.seed} --code {params.code} {params.start} "
    "--data $(dirname {input.manifest}) --out $(dirname {output.metrics}) --threads {threads} > {log} 2>&1"
)


# Hidden tokens of the training split are predicted; a run that starts from these weights names them as its input.
rule pretrain:
    input:
        manifest=lambda wildcards: get_manifest(wildcards.task)(wildcards),
        shards=lambda wildcards: get_stored_shards(wildcards.task),
    output:
        **get_run_files(paths.pretraining(ARENA.scale, "{task}", "{attention}", "{seed}")),
    log:
        paths.log(ARENA.scale, "pretrain", "{task}", "{attention}", paths.seed_name("{seed}")),
    wildcard_constraints:
        task=get_regex(ARENA.tasks),
        attention=get_regex(sorted(ARENA.pretrained)),
        seed=r"\d+",
    conda:
        "../../envs/train.yaml"
    threads: ARENA.settings["threads"]
    resources:
        **get_training_resources(),
    params:
        start="",
        seed=lambda wildcards: wildcards.seed,
        settings=get_pretrain_settings,
        code=lambda wildcards: get_code(wildcards.attention),
    shell:
        TRAIN.replace("lra train", "lra pretrain")


for attention in ARENA.attentions:
    for task in ARENA.tasks:

        rule:
            name:
                f"train_{attention}_{task}" + ("_seed" if SEVERAL_SEEDS else "")
            input:
                manifest=get_manifest(task),
                shards=get_stored_shards(task),
                start=get_start(attention, task, SEED),
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
                start=get_pretrained,
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
