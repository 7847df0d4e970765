"""The command line: a person can run every command that a rule runs."""
