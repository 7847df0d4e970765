# One rule an attention x task, one job a seed.

for attention in ARENA.attentions:
    for task in ARENA.tasks:

        rule:
            name:
                f"train_{attention}_{task}_seed"
            input:
                manifest=get_manifest(task),
                shards=get_stored_shards(task),
            output:
                metrics=f"{get_run(attention, task)}/metrics.json",
                history=f"{get_run(attention, task)}/history.csv",
                predictions=f"{get_run(attention, task)}/predictions.parquet",
                weights=f"{get_run(attention, task)}/model.safetensors",
            log:
                f"logs/{ARENA.scale}/train/{task}/{attention}/seed-{{seed}}.log",
            benchmark:
                f"logs/benchmarks/{ARENA.scale}/train/{task}/{attention}/seed-{{seed}}.tsv"
            conda:
                "../../envs/train.yaml"
            threads: ARENA.settings["threads"]
            resources:
                mem_mb=get_more(ARENA.settings["memory"]),
                runtime=get_more(ARENA.settings["runtime"]),
                gpu=GPUS,
            params:
                settings=get_settings(attention, task),
                code=get_code(attention),
            shell:
                "python -m lra train --settings {params.settings:q} --seed {wildcards.seed} --code {params.code} "
                "--data $(dirname {input.manifest}) --out $(dirname {output.metrics}) --threads {threads} "
                "> {log} 2>&1"

        rule:
            name:
                f"train_{attention}_{task}"
            input:
                expand(f"{get_run(attention, task)}/metrics.json", seed=ARENA.seeds),
            localrule: True
