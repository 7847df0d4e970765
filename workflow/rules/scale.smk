# Before a large run: an estimate of its cost, and a few steps of every run to find crashes.


rule plan:
    # Without outputs, so that every call estimates again.
    log:
        paths.log("plan"),
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        # A function, because URLs in `sources` can contain braces, which Snakemake would read as wildcards.
        settings=lambda wildcards: json.dumps(config),
        out=paths.PLAN,
    shell:
        "python -m lra plan --settings {params.settings:q} --out {params.out} 2> {log}"


rule rehearse_data:
    output:
        directory(paths.rehearsal_shards(ARENA.scale, "{task}")),
    log:
        paths.log(ARENA.scale, "rehearse", "{task}"),
    wildcard_constraints:
        task=get_regex(ARENA.tasks),
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=2000,
    params:
        rows=get_rehearsal_rows,
        settings=lambda wildcards: json.dumps(ARENA.data(wildcards.task), sort_keys=True),
        code=lambda wildcards: fingerprint("lra.data.synthetic", get_task_modules(wildcards.task)[0]),
    shell:
        "python -m lra rehearsal-data {wildcards.task} --settings {params.settings:q} --rows {params.rows} "
        "--out {output} > {log} 2>&1"


# On a CPU, one job per core takes less time in all than one job after another with all cores.
rule rehearse_cell:
    input:
        paths.rehearsal_shards(ARENA.scale, "{task}"),
    output:
        paths.rehearsed_run(ARENA.scale, "{task}", "{attention}") / paths.METRICS,
    log:
        paths.log(ARENA.scale, "rehearse", "{task}", "{attention}"),
    wildcard_constraints:
        task=get_regex(ARENA.tasks),
        attention=get_regex(ARENA.attentions),
    conda:
        "../../envs/train.yaml"
    resources:
        **get_training_resources(runtime=60),
    params:
        settings=lambda wildcards: get_settings(wildcards.attention, wildcards.task),
        code=lambda wildcards: get_code(wildcards.attention),
    shell:
        "python -m lra train --settings {params.settings:q} --seed 0 --code {params.code} --max-steps 2 "
        "--data {input} --out $(dirname {output}) --threads {threads} > {log} 2>&1"


rule rehearse:
    input:
        [
            paths.rehearsed_run(ARENA.scale, task, attention) / paths.METRICS
            for task in ARENA.tasks
            for attention in ARENA.attentions
        ],
    log:
        paths.log(ARENA.scale, "rehearse"),
    localrule: True
    conda:
        "../../envs/train.yaml"
    shell:
        # A run that crashed has written its reason and its rule has succeeded; the rehearsal fails.
        'grep --files-without-match \'"status": "ok"\' {input} > {log} || true; '
        "if test -s {log}; then echo 'These runs failed; each file says why:'; cat {log}; exit 1; fi"
