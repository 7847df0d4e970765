# Cost and approximation: time and memory alone on the machine, and the error of each approximation.


include: "measure_targets.smk"


rule measure_attention:
    # In one process, which loads torch once; a task that the same code has measured with the same settings is kept.
    output:
        update([paths.measurement(task, "{attention}") for task in ARENA.tasks]),
    log:
        paths.log("measure", "{attention}"),
    wildcard_constraints:
        attention=get_regex(ARENA.attentions),
    conda:
        "../../envs/train.yaml"
    threads: get_all_cores
    resources:
        **get_resources_alone(),
    params:
        settings=get_measure_settings,
        code=get_measure_code,
    shell:
        "python -m lra measure --attention {wildcards.attention} --settings {params.settings:q} --code {params.code} "
        "--stale --threads {threads} > {log} 2>&1"


rule measure:
    input:
        get_measures(),
    localrule: True


rule approximate_attention:
    input:
        run=get_exact_run(),
        manifest=get_manifest(TEXTS),
        shards=get_stored_shards(TEXTS) if TEXTS in ARENA.tasks else [],
    output:
        paths.approximation(ARENA.scale, "{attention}"),
    log:
        paths.log(ARENA.scale, "approximate", "{attention}"),
    wildcard_constraints:
        attention=get_regex(get_approximating()),
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=get_more(4000),
        runtime=get_more(ARENA.settings["runtime"]),
        gpu=GPUS,
    params:
        run=lambda wildcards, input: (f"--run {Path(input.run[0]).parent}" if input.run else ""),
        settings=get_approximate_settings,
        code=get_approximate_code,
    shell:
        "python -m lra approximate --attention {wildcards.attention} --settings {params.settings:q} {params.run} "
        "--data $(dirname {input.manifest}) --out {output} --threads {threads} > {log} 2>&1"


rule approximate:
    input:
        get_approximations(),
    localrule: True


if ARENA.bench:

    rule bench_attention:
        output:
            paths.bench("{attention}"),
        log:
            paths.log("bench", "{attention}"),
        wildcard_constraints:
            attention=get_regex(ARENA.attentions),
        conda:
            "../../envs/train.yaml"
        threads: get_all_cores
        resources:
            **get_resources_alone(),
        params:
            settings=get_bench_settings,
            lengths=ARENA.bench["lengths"],
            repeats=ARENA.bench["repeats"],
            code=lambda wildcards: get_code(wildcards.attention, "lra.cost.attention_core"),
        shell:
            "python -m lra bench --settings {params.settings:q} --lengths {params.lengths} --repeats {params.repeats} "
            "--out {output} --threads {threads} > {log} 2>&1"

    rule bench:
        input:
            [paths.bench(attention) for attention in get_benched()],
        output:
            paths.BENCH,
        log:
            paths.log("bench"),
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            order=get_benched(),
        shell:
            # One header, then the rows of all files.
            "awk 'FNR > 1 || NR == 1' {input} > {output} 2> {log}"
