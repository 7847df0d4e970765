"""What training costs: time, memory, multiply-adds, and the error of the approximations."""
