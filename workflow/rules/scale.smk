# Before a large run: what it will take, and a few steps of every run to find what would crash.

REHEARSAL = f"results/rehearsal/{ARENA.scale}"


rule plan:
    # Without outputs, so that it counts anew whenever it is asked for.
    log:
        "logs/plan.log",
    benchmark:
        "logs/benchmarks/plan.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=json.dumps(config),
    shell:
        "python -m lra plan --settings {params.settings:q} --out results/plan.md 2> {log}"


for task in ARENA.tasks:

    rule:
        name:
            f"rehearse_data_{task}"
        output:
            directory(f"data/rehearsal/{ARENA.scale}/{task}"),
        log:
            f"logs/{ARENA.scale}/rehearse/{task}.log",
        benchmark:
            f"logs/benchmarks/{ARENA.scale}/rehearse/{task}.tsv"
        conda:
            "../../envs/train.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            task=task,
            rows=ARENA.settings["tasks"][task]["train"]["batch"],
            settings=json.dumps(ARENA.data(task), sort_keys=True),
            code=fingerprint("lra.data.synthetic", get_task_modules(task)[0]),
        shell:
            "python -m lra rehearsal-data {params.task} --settings {params.settings:q} --rows {params.rows} "
            "--out {output} > {log} 2>&1"

    for attention in ARENA.attentions:

        rule:
            name:
                f"rehearse_{attention}_{task}"
            input:
                f"data/rehearsal/{ARENA.scale}/{task}",
            output:
                f"{REHEARSAL}/{task}/{attention}/metrics.json",
            log:
                f"logs/{ARENA.scale}/rehearse/{task}/{attention}.log",
            benchmark:
                f"logs/benchmarks/{ARENA.scale}/rehearse/{task}/{attention}.tsv"
            conda:
                "../../envs/train.yaml"
            # On a CPU, as many at once as there are cores take less time than one after another with all of them.
            threads: 1
            resources:
                mem_mb=get_more(ARENA.settings["memory"]),
                runtime=get_more(60),
                gpu=GPUS,
            params:
                settings=get_settings(attention, task),
                code=get_code(attention),
            shell:
                "python -m lra train --settings {params.settings:q} --seed 0 --code {params.code} --max-steps 2 "
                "--data {input} --out $(dirname {output}) --threads {threads} > {log} 2>&1"


rule rehearse:
    input:
        expand(
            f"{REHEARSAL}/{{task}}/{{attention}}/metrics.json",
            task=ARENA.tasks,
            attention=ARENA.attentions,
        ),
    log:
        f"logs/{ARENA.scale}/rehearse.log",
    localrule: True
    conda:
        "../../envs/train.yaml"
    shell:
        # A run that crashed has written its reason; it is no error of its rule, but one of the rehearsal.
        'grep --files-without-match \'"status": "ok"\' {input} > {log} || true; '
        "if test -s {log}; then echo 'These runs failed; each file says why:'; cat {log}; exit 1; fi"
