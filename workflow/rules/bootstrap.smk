# Import the package, and read the files of settings with it: for invalid YAML, Snakemake reports no line.

import os
import sys
from pathlib import Path

# The package beside these rules comes first. Rules from a Git tag have none, and use the installed package.
SOURCE = Path(str(workflow.current_basedir)).parent.parent / "src"
sys.path.insert(0, str(SOURCE))

# On a node of a cluster, Snakemake is started with `python -m`, which looks for modules in the current folder first.
# Executors that do not pass the environment on get the variable by name.
os.environ["PYTHONSAFEPATH"] = "1"


envvars:
    "PYTHONSAFEPATH",


try:
    import lra
except ModuleNotFoundError:
    sys.exit("Error: these rules run the Python package lra; install it with pip, of the same tag as the rules.")

from lra.config.reading import read_config, retyped
from lra.errors import LraError


def get_layers():
    """The settings of each file and of the command line, by name; later ones override earlier ones.

    Empty if these rules are a module of another workflow, which reads its own settings.
    """
    if workflow.modifier.skip_configfile:
        return {}
    given = workflow.config_settings
    files = [Path(os.path.relpath(file)) for file in given.configfiles]
    if Path(CONFIG).exists() or not files:
        files.insert(0, Path(CONFIG))
    return {str(file): read_config(file) for file in files} | {"--config": retyped(given.config)}


try:
    LAYERS = get_layers()
except LraError as error:
    sys.exit(f"Error: {error}")
