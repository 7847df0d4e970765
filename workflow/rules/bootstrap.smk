# Before all else: the package, and each file of settings read by it, since Snakemake says no line of what is no YAML.

import os
import sys
from pathlib import Path

# The package beside these rules comes first. Rules that are read from a Git tag have none: then the one installed serves.
SOURCE = Path(str(workflow.current_basedir)).parent.parent / "src"
sys.path.insert(0, str(SOURCE))

try:
    import lra
except ModuleNotFoundError:
    sys.exit("Error: these rules run the Python package lra; install it with pip, of the same tag as the rules.")

from lra.config.reading import read_config, retyped
from lra.errors import LraError


def get_layers():
    """What each file of settings and the command line say, by name, in the order in which they are laid over another.

    Empty where these rules are a module of a workflow, which reads its own settings.
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
