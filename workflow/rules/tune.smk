# A learning rate for each attention x task: short runs at every rate of `tune`, of which dev accuracy chooses one.


if ARENA.tune:

    rule try_rate:
        input:
            manifest=get_tried_manifest,
            shards=get_tried_shards,
            start=lambda wildcards: get_start(wildcards.attention, wildcards.task, ARENA.tune.seed),
        output:
            **get_run_files(paths.tuning(ARENA.scale, "{task}", "{attention}") / "{rate}"),
        log:
            paths.log(ARENA.scale, "tune", "{task}", "{attention}", "{rate}"),
        wildcard_constraints:
            task=get_regex(ARENA.tasks),
            attention=get_regex(ARENA.attentions),
            rate=get_regex(RATES),
        conda:
            "../../envs/train.yaml"
        threads: ARENA.settings["threads"]
        resources:
            **get_training_resources(),
        params:
            start=get_pretrained,
            seed=ARENA.tune.seed,
            settings=get_try_settings,
            code=lambda wildcards: get_code(wildcards.attention),
        shell:
            TRAIN

    # A checkpoint, so that another try that leaves the choice as it was repeats no run.
    checkpoint choose_rate:
        input:
            get_tries,
        output:
            paths.choice(ARENA.scale, "{task}", "{attention}"),
        log:
            paths.log(ARENA.scale, "tune", "{task}", "{attention}", "choice"),
        wildcard_constraints:
            task=get_regex(ARENA.tasks),
            attention=get_regex(ARENA.attentions),
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            code=fingerprint("lra.results.choosing"),
        shell:
            "python -m lra choose --metrics {input} --out {output} > {log} 2>&1"

    rule tune:
        input:
            get_choices(),
        localrule: True
