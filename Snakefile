# The Long Range Arena: sources -> Parquet shards -> one run per attention x task x seed -> tables and plots.


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/scale.smk"


rule all:
    default_target: True
    input:
        get_results(),
        get_approximation_plots(),
        get_sweep_plots(),
        rules.shards.input,
    localrule: True
