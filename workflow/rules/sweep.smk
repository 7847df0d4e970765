# One attention on one task with other batch sizes and learning rates (figure 3), one job a seed.


include: "sweep_targets.smk"


if SWEEP:

    rule train_sweep_seed:
        input:
            manifest=get_manifest(SWEEP.task),
            shards=get_stored_shards(SWEEP.task),
        output:
            metrics=f"{SWEPT}/metrics.json",
            history=f"{SWEPT}/history.csv",
            predictions=f"{SWEPT}/predictions.parquet",
            weights=f"{SWEPT}/model.safetensors",
        log:
            f"logs/{ARENA.scale}/sweep/batch-{{batch}}_rate-{{learning_rate}}/seed-{{seed}}.log",
        benchmark:
            f"logs/benchmarks/{ARENA.scale}/sweep/batch-{{batch}}_rate-{{learning_rate}}/seed-{{seed}}.tsv"
        wildcard_constraints:
            batch=r"\d+",
            learning_rate=r"\d[\d.e+-]*",
            seed=r"\d+",
        conda:
            "../../envs/train.yaml"
        threads: ARENA.settings["threads"]
        resources:
            mem_mb=get_more(ARENA.settings["memory"]),
            runtime=get_more(ARENA.settings["runtime"]),
            gpu=GPUS,
        params:
            settings=get_sweep_settings,
            code=get_code(SWEEP.attention),
        shell:
            "python -m lra train --settings {params.settings:q} --seed {wildcards.seed} --code {params.code} "
            "--data $(dirname {input.manifest}) --out $(dirname {output.metrics}) --threads {threads} "
            "> {log} 2>&1"

    rule plot_sweep:
        input:
            get_swept("metrics.json"),
        output:
            svg=report(
                "results/plots/sweep.svg",
                caption="../report/sweep.rst",
                category="Figures",
                labels={"figure": "batch size and learning rate"},
            ),
            png="results/plots/sweep.png",
        log:
            "logs/plot_sweep.log",
        benchmark:
            "logs/benchmarks/plot_sweep.tsv"
        conda:
            "../../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            code=fingerprint("lra.results.plots.sweep"),
            published=get_checksums("published"),
        shell:
            "python -m lra plots sweep --metrics {input} --out results/plots 2> {log}"


rule sweep:
    input:
        get_sweep_plots(),
    localrule: True
