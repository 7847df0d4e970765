# The front door, where people look for it. The workflow stands in its folder, as the catalog and other workflows want it.


include: "workflow/Snakefile"


# Snakemake takes no default from what is included.
rule arena:
    default_target: True
    input:
        rules.all.input,
    localrule: True
