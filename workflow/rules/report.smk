# Runs -> tables and plots.


def get_results():
    """Every table and plot."""
    return ["results/table.csv"]


rule collect:
    input:
        get_all_runs("metrics.json"),
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
        mem_mb=500,
        runtime=10,
    params:
        code=fingerprint("lra.results.table"),
    shell:
        "{LRA} collect {input} --out {output} 2> {log}"
