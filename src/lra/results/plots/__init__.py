"""Figures, one module each, all in the style of :mod:`lra.results.plots.style`."""
