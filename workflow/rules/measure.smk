# Cost and approximation: time and memory alone on the machine, and the error of each approximation.


include: "measure_targets.smk"


for attention in ARENA.attentions:
    for task in ARENA.tasks:

        rule:
            name:
                f"measure_{attention}_{task}"
            output:
                get_measure(attention, task),
            log:
                f"logs/measure/{task}/{attention}.log",
            benchmark:
                f"logs/benchmarks/measure/{task}/{attention}.tsv"
            conda:
                "../../envs/train.yaml"
            threads: get_all_cores
            resources:
                mem_mb=get_more(16000),
                runtime=get_more(30),
                gpu=GPUS,
                # On a cluster too nothing runs beside a measurement.
                slurm_extra="'--exclusive'",
            params:
                attention=attention,
                task=task,
                settings=json.dumps(as_mapping(ARENA.measure_settings(attention, task)), sort_keys=True),
                code=fingerprint("lra.cost.training_step", get_module(attention)),
            shell:
                "python -m lra measure --attention {params.attention} --task {params.task} --settings {params.settings:q} "
                "--code {params.code} --out {output} --threads {threads} > {log} 2>&1"


rule measure:
    input:
        get_measures(),
    localrule: True


for attention in get_approximating():

    rule:
        name:
            f"approximate_{attention}"
        input:
            run=get_exact_run(),
            manifest=get_manifest(TEXTS),
            shards=get_stored_shards(TEXTS),
        output:
            f"{APPROXIMATION}/{attention}.csv",
        log:
            f"logs/{ARENA.scale}/approximate/{attention}.log",
        benchmark:
            f"logs/benchmarks/{ARENA.scale}/approximate/{attention}.tsv"
        conda:
            "../../envs/train.yaml"
        threads: 1
        resources:
            mem_mb=get_more(4000),
            runtime=get_more(ARENA.settings["runtime"]),
            gpu=GPUS,
        params:
            attention=attention,
            run=lambda wildcards, input: (f"--run {Path(input.run[0]).parent}" if input.run else ""),
            settings=json.dumps(as_mapping(ARENA.approximate_settings(attention)), sort_keys=True),
            code=fingerprint(
                "lra.cost.approximation_error",
                get_module(attention),
                resolve(EXACT).path.partition(":")[0],
            ),
        shell:
            "python -m lra approximate --attention {params.attention} --settings {params.settings:q} {params.run} "
            "--data $(dirname {input.manifest}) --out {output} --threads {threads} > {log} 2>&1"


rule approximate:
    input:
        get_approximations(),
    localrule: True


if get_approximating():

    rule plot_approximation:
        input:
            get_approximations(),
        output:
            get_approximation_plots(),
        log:
            "logs/plot_approximation.log",
        benchmark:
            "logs/benchmarks/plot_approximation.tsv"
        conda:
            "../../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=500,
            runtime=10,
        params:
            order=get_approximating(),
            code=fingerprint("lra.results.plots.approximation"),
            published=get_checksums("published"),
        shell:
            "python -m lra plot-approximation {input} --out results/plots/approximation 2> {log}"


for attention in get_benched():

    rule:
        name:
            f"bench_{attention}"
        output:
            get_bench(attention),
        log:
            f"logs/bench/{attention}.log",
        benchmark:
            f"logs/benchmarks/bench/{attention}.tsv"
        conda:
            "../../envs/train.yaml"
        threads: get_all_cores
        resources:
            mem_mb=get_more(16000),
            runtime=get_more(30),
            gpu=GPUS,
            slurm_extra="'--exclusive'",
        params:
            settings=json.dumps(as_mapping(ARENA.bench_settings(attention))["attentions"], sort_keys=True),
            lengths=ARENA.bench["lengths"],
            repeats=ARENA.bench["repeats"],
            code=fingerprint("lra.cost.attention_core", get_module(attention)),
        shell:
            "python -m lra bench --settings {params.settings:q} --lengths {params.lengths} --repeats {params.repeats} "
            "--out {output} --threads {threads} > {log} 2>&1"


if ARENA.bench:

    rule bench:
        input:
            [get_bench(attention) for attention in get_benched()],
        output:
            "results/benchmarks/attention.csv",
        log:
            "logs/bench.log",
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            order=get_benched(),
        shell:
            # One header, then the rows of all.
            "awk 'FNR > 1 || NR == 1' {input} > {output} 2> {log}"

    rule plot_bench:
        input:
            "results/benchmarks/attention.csv",
        output:
            expand("results/plots/bench.{kind}", kind=["png", "svg"]),
        log:
            "logs/plot_bench.log",
        benchmark:
            "logs/benchmarks/plot_bench.tsv"
        conda:
            "../../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=500,
            runtime=10,
        params:
            code=fingerprint("lra.results.plots.scaling"),
            published=get_checksums("published"),
        shell:
            "python -m lra plot-bench {input} --out results/plots/bench 2> {log}"
