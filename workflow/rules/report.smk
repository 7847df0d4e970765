# Runs and measurements -> table -> tables, figures, report.


include: "report_targets.smk"


rule collect:
    input:
        metrics=get_all_runs(paths.METRICS),
        predictions=get_all_runs(paths.PREDICTIONS),
        measures=get_measures(),
        choices=get_choices(),
    output:
        paths.TABLE,
    log:
        paths.log("collect"),
    conda:
        "../../envs/report.yaml"
    params:
        scale=ARENA.scale,
        order=get_order(),
        code=fingerprint("lra.results.table"),
        published=get_checksums("published"),
        reference=str(REFERENCE),
        references=get_reference_checksums(),
    shell:
        "python -m lra collect --reference {params.reference} --metrics {input.metrics} --measures {input.measures} "
        "--choices {input.choices} --scale {params.scale} --out {output} 2> {log}"


rule tabulate:
    input:
        paths.TABLE,
    output:
        html=[
            report(
                paths.table(kind, "html"),
                caption=f"../report/{kind}.rst",
                category="Tables",
                labels={"table": kind},
            )
            for kind in TABLES
        ],
        others=get_tables("csv", "md", "tex"),
    log:
        paths.log("tabulate"),
    conda:
        "../../envs/report.yaml"
    params:
        out=paths.TABLES,
        code=fingerprint("lra.results.tables"),
        published=get_checksums("published"),
        templates=get_checksums("templates"),
    shell:
        "python -m lra tables --table {input} --out {params.out} 2> {log}"


rule plot:
    input:
        reads=lambda wildcards: PLOTS[wildcards.figure].reads,
        beside=lambda wildcards: PLOTS[wildcards.figure].beside,
        measures=lambda wildcards: PLOTS[wildcards.figure].measures,
    output:
        svg=report(
            paths.plot("{figure}", "svg"),
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png=paths.plot("{figure}", "png"),
    log:
        paths.log("plot_{figure}"),
    wildcard_constraints:
        figure=get_regex(PLOTS),
    # After the measurements, between which the machine would drain for each figure.
    priority: -2
    conda:
        "../../envs/report.yaml"
    params:
        command=lambda wildcards: PLOTS[wildcards.figure].command,
        measures=lambda wildcards: "--measures" if PLOTS[wildcards.figure].measures else "",
        out=lambda wildcards: PLOTS[wildcards.figure].out,
        caption=lambda wildcards: CAPTIONS[wildcards.figure],
        order=get_order(),
        references=lambda wildcards: PLOTS[wildcards.figure].references,
        code=lambda wildcards: fingerprint(PLOTS[wildcards.figure].code),
        published=get_checksums("published"),
    shell:
        "python -m lra {params.command} {input.reads} {params.measures} {input.measures} "
        "--out $(dirname {output.svg})/{params.out} 2> {log}"


rule report:
    input:
        table=paths.TABLE,
        metrics=get_all_runs(paths.METRICS),
        measures=get_measures(),
        figures=get_plots("svg"),
    output:
        report(
            paths.REPORT,
            caption="../report/report.rst",
            category="Report",
            labels={"page": "findings, tables and figures"},
        ),
    log:
        paths.log("report"),
    conda:
        "../../envs/report.yaml"
    params:
        code=fingerprint("lra.results.report"),
        published=get_checksums("published"),
        templates=get_checksums("templates"),
    shell:
        "python -m lra report --table {input.table} --metrics {input.metrics} "
        "--measures {input.measures} --figures {input.figures} --out {output} 2> {log}"


rule sweep:
    input:
        [paths.plot("sweep", ending) for ending in ("png", "svg")] if SWEEP else [],
    localrule: True
