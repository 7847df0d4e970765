# The front door, where people look for it. The workflow stands in its folder, as the catalog and other workflows want it.

import os

# On a node of a cluster Snakemake is started with `python -m`, which looks for modules in this folder first.
os.environ.update(PYTHONSAFEPATH="1")


include: "workflow/Snakefile"


# Snakemake takes no default from what is included.
rule arena:
    default_target: True
    input:
        rules.all.input,
    localrule: True
