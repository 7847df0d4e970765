# One attention on one task with other batch sizes and learning rates (figure 3), one job a seed.


include: "sweep_targets.smk"


if SWEEP:

    rule train_sweep:
        input:
            manifest=get_manifest(SWEEP.task),
            shards=get_stored_shards(SWEEP.task),
            start=get_start(SWEEP.attention, SWEEP.task, "{seed}"),
        output:
            **get_run_files(paths.swept_run(ARENA.scale, "{cell}", "{seed}")),
        log:
            paths.log(ARENA.scale, "sweep", "{cell}", paths.seed_name("{seed}")),
        wildcard_constraints:
            cell=get_regex(SWEEP.cells()),
            seed=r"\d+",
        conda:
            "../../envs/train.yaml"
        threads: ARENA.settings["threads"]
        resources:
            **get_training_resources(),
        params:
            start=get_pretrained,
            seed=get_seed,
            settings=get_sweep_settings,
            code=get_code(SWEEP.attention),
        shell:
            TRAIN
