# What is made from finished runs: functions of report.smk.

from lra.results.captions import FIGURES

TABLES = {kind: f"results/tables/{kind}" for kind in ("accuracy", "time", "memory", "flops")}
FORMATS = ("csv", "md", "tex", "html")


def get_tables():
    """Every table in every format."""
    return [f"{path}.{ending}" for path in TABLES.values() for ending in FORMATS]


def get_figures(ending):
    """Every figure in one format."""
    return [f"results/plots/{figure}.{ending}" for figure in FIGURES]


def get_shown_figures():
    """The figures in the report."""
    return [
        *get_figures("svg"),
        *(path for path in get_bench_plots() + get_sweep_plots() + get_approximation_plots() if path.endswith("svg")),
    ]


def get_results():
    """Everything that is made from finished runs."""
    return [
        "results/table.csv",
        get_tables(),
        get_figures("png"),
        get_figures("svg"),
        "results/report.html",
    ]
