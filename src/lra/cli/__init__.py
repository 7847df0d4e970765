"""The command line: what a rule runs, a person can run."""
