"""The Long Range Arena you can rerun: attentions, tasks, training, measurement and results."""

__version__ = "0.1.0"
