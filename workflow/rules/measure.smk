# Cost and approximation: time and memory alone on the machine, and the error of each approximation.


include: "measure_targets.smk"


rule measure_attention:
    # In one process, which loads torch once. What the same code has measured with the same settings is kept beside the
    # outputs. Not `update`: where such a job fails, Snakemake takes the old file that it restores for a new one.
    output:
        [paths.measurement(task, "{attention}") for task in ARENA.tasks],
    log:
        paths.log("measure", "{attention}"),
    wildcard_constraints:
        attention=get_regex(ARENA.attentions),
    # After all training, so that the machine drains once for the jobs that need all of it.
    priority: -1
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

    rule bench:
        # In one process for all attentions; rows of the same code and settings are kept, in a file beside the output.
        output:
            paths.BENCH,
        log:
            paths.log("bench"),
        priority: -1
        conda:
            "../../envs/train.yaml"
        threads: get_all_cores
        resources:
            **get_resources_alone(runtime=120),
        params:
            settings=get_bench_settings(),
            lengths=ARENA.bench["lengths"],
            repeats=ARENA.bench["repeats"],
            codes=get_bench_codes(),
        shell:
            "python -m lra bench --settings {params.settings:q} --codes {params.codes:q} --lengths {params.lengths} "
            "--repeats {params.repeats} --stale --out {output} --threads {threads} > {log} 2>&1"
