"""The figures by name, and what each shows."""

FIGURES = {
    "accuracy_time": (
        "Test accuracy (mean, 95 % t-interval over seeds) against training time. What lies on the Pareto front is "
        "beaten by no other method in accuracy and time at once."
    ),
    "loss_seconds": (
        "Loss on dev against training time (logarithmic; evaluations left out), mean over seeds. The runs may have "
        "shared the machine, so that times compare only roughly."
    ),
    "loss_steps": "Loss on dev against training steps, mean over seeds.",
}
"""Those that ``lra plots`` draws from finished runs."""

CAPTIONS = FIGURES | {
    "sweep": (
        "Test accuracy (mean, 95 % t-interval over seeds) and training time of one attention with several batch sizes "
        "and learning rates. The runs may have shared the machine, so that times compare only roughly."
    ),
    "approximation": (
        "Spectral norm of the difference to exact attention's output, as a share of that output's, against the budget "
        "d: mean and standard error over trials."
    ),
    "bench": "Time and memory of one attention's forward and backward pass against the length, and how they grow.",
}
