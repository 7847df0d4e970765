"""The five tasks of the Long Range Arena, one module each; see :mod:`lra.tasks.contract`.

A task module defines a frozen dataclass ``Settings`` (the task's ``data`` block of config.yaml), and three functions::

    describe(settings) -> Task
    examples(settings, source, workers) -> Examples
    encode(settings, raw) -> token ids (length,) of one raw sequence, as the examples have them

``source`` is the path of the artefact that ``settings.source`` names, None where nothing is read; ``workers`` is the
number of processes that may be used, and never changes the result.
"""
