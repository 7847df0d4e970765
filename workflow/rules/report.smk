# Runs and measurements -> table -> tables, figures, report.


include: "report_targets.smk"


rule collect:
    input:
        metrics=get_all_runs("metrics.json"),
        predictions=get_all_runs("predictions.parquet"),
        measures=get_measures(),
    output:
        "results/table.csv",
    log:
        "logs/collect.log",
    benchmark:
        "logs/benchmarks/collect.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        scale=ARENA.scale,
        order=get_order(),
        code=fingerprint("lra.results.table"),
        published=get_checksums("published"),
    shell:
        "python -m lra collect --metrics {input.metrics} --measures {input.measures} "
        "--scale {params.scale} --out {output} 2> {log}"


rule tabulate:
    input:
        "results/table.csv",
    output:
        [
            report(
                f"{path}.html",
                caption=f"../report/{kind}.rst",
                category="Tables",
                labels={"table": kind},
            )
            for kind, path in TABLES.items()
        ],
        [file for file in get_tables() if not file.endswith(".html")],
    log:
        "logs/tabulate.log",
    benchmark:
        "logs/benchmarks/tabulate.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=fingerprint("lra.results.tables"),
        published=get_checksums("published"),
        templates=get_checksums("templates"),
    shell:
        "python -m lra tables --table {input} --out results/tables 2> {log}"


rule plot_accuracy_time:
    input:
        "results/table.csv",
    output:
        svg=report(
            "results/plots/accuracy_time.svg",
            caption="../report/accuracy_time.rst",
            category="Figures",
            labels={"figure": "accuracy against time"},
        ),
        png="results/plots/accuracy_time.png",
    log:
        "logs/plot_accuracy_time.log",
    benchmark:
        "logs/benchmarks/plot_accuracy_time.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=fingerprint("lra.results.plots.accuracy_time"),
        published=get_checksums("published"),
    shell:
        "python -m lra plots accuracy_time --table {input} --out results/plots 2> {log}"


for against in ("seconds", "steps"):

    rule:
        name:
            f"plot_loss_{against}"
        input:
            metrics=get_all_runs("metrics.json"),
            history=get_all_runs("history.csv"),
        output:
            svg=report(
                f"results/plots/loss_{against}.svg",
                caption=f"../report/loss_{against}.rst",
                category="Figures",
                labels={"figure": f"loss against {against}"},
            ),
            png=f"results/plots/loss_{against}.png",
        log:
            f"logs/plot_loss_{against}.log",
        benchmark:
            f"logs/benchmarks/plot_loss_{against}.tsv"
        conda:
            "../../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            figure=f"loss_{against}",
            order=get_order(),
            code=fingerprint("lra.results.plots.loss"),
            published=get_checksums("published"),
        shell:
            "python -m lra plots {params.figure} --metrics {input.metrics} --out results/plots 2> {log}"


rule report:
    input:
        table="results/table.csv",
        metrics=get_all_runs("metrics.json"),
        figures=get_shown_figures(),
    output:
        report(
            "results/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "findings, tables and figures"},
        ),
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=fingerprint("lra.results.report"),
        published=get_checksums("published"),
        templates=get_checksums("templates"),
    shell:
        "python -m lra report --table {input.table} --metrics {input.metrics} "
        "--figures {input.figures} --out {output} 2> {log}"
