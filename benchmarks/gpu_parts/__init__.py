"""The parts of ``benchmarks/gpu.py``: what each measures, and the sizes of both kinds of device."""
