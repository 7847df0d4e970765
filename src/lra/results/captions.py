"""The figures by name, and what each shows."""

FIGURES = {
    "accuracy_time": (
        "Test accuracy against training time. Bars are 95 % intervals, over test examples and, from two seeds on, "
        "seeds. The axes say which length n and how many features d accuracy and time belong to. Where both "
        "belong to one size, the line joins the methods whose mean no other method beats in accuracy and time at "
        "once (Pareto front), and grey rings mark the methods that only noise may keep off it; neither is drawn "
        "below three seeds."
    ),
    "accuracy_flops": (
        "Best accuracy on dev so far against the FLOPs of training until then, mean over seeds: what each method has "
        "reached when exact attention has reached its best (dotted line). FLOPs are three forward passes an example, "
        "counted at the length and features on the axis, which need not be those that the runs had; evaluations are "
        "left out."
    ),
    "accuracy_seconds": (
        "The same against time: the steps of each run at the seconds that a step takes alone on the machine, measured "
        "at the length and features on the axis."
    ),
    "loss_seconds": (
        "Loss on dev against training time (logarithmic; evaluations left out), mean over seeds, with their range "
        "at the end. The runs may have shared the machine, so that times compare only roughly."
    ),
    "loss_steps": "Loss on dev against training steps, mean over seeds, with their range at the end.",
}
"""Those that ``lra plots`` draws from finished runs."""

CAPTIONS = FIGURES | {
    "published": (
        "Accuracies that the paper published, reference results of this code, and your runs, with their 95 % "
        "intervals. A method without a second marker was not run on that task."
    ),
    "sweep": (
        "Test accuracy and training time of one attention with several batch sizes and learning rates: means over "
        "seeds and 95 % intervals, of accuracy over test examples and, from two seeds on, seeds. The runs may "
        "have shared the machine, so that times compare only roughly."
    ),
    "approximation": (
        "Spectral norm of the difference to exact attention's output, as a share of that output's, against the "
        "budget d: mean and standard error over trials."
    ),
    "bench": ("Time and memory of one attention's forward and backward pass against the length, and how they grow."),
}
