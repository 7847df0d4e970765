"""The cost of training (time, memory, FLOPs), and the errors of the approximations."""
