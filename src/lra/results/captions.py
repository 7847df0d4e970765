"""Captions of the figures, by name."""

FIGURES = {
    "accuracy_time": (
        "Test accuracy against training time. Bars are 95 % intervals over test examples and, from two seeds on, over "
        "seeds. The axes give the length n and the number of features d of accuracy and time. If these are the same "
        "for both, the line is the Pareto front: no other method has a higher mean accuracy in less time. Grey rings "
        "mark methods whose distance to the front may be noise. Methods with fewer than three seeds are left out of "
        "the front and get no ring."
    ),
    "accuracy_flops": (
        "Best dev accuracy so far against training FLOPs, mean over seeds. The dotted line marks where exact attention "
        "reaches its best. FLOPs are those of three forward passes per example, counted at the length and features on "
        "the axis, which can differ from those of the runs. Evaluations are left out."
    ),
    "accuracy_seconds": (
        "Best dev accuracy so far against training time, mean over seeds. The dotted line marks where exact attention "
        "reaches its best. Time is the number of steps times the seconds that one step takes alone on the machine, "
        "measured at the length and features on the axis. Evaluations are left out."
    ),
    "loss_seconds": (
        "Dev loss against training time (logarithmic axis, without evaluations): mean over seeds, with their range at "
        "the end. The runs may have shared the machine, so compare times only roughly."
    ),
    "loss_steps": "Dev loss against training steps: mean over seeds, with their range at the end.",
}
"""Captions of the figures that ``lra plots`` draws from finished runs."""

CAPTIONS = FIGURES | {
    "published": (
        "The paper's accuracies, reference results of this code, and your runs, with 95 % intervals. A method without "
        "a second marker was not run on that task."
    ),
    "sweep": (
        "Test accuracy and training time of one attention at several batch sizes and learning rates: means over seeds "
        "with 95 % intervals. Intervals of accuracy cover test examples and, from two seeds on, seeds. The runs may "
        "have shared the machine, so compare times only roughly."
    ),
    "approximation": (
        "Spectral norm of the error against exact attention, relative to the norm of the exact output, by the budget "
        "d: mean and standard error over trials."
    ),
    "bench": (
        "Time and memory of one attention's forward and backward pass against the length, with the fitted power of n."
    ),
}
