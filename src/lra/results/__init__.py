"""Runs to tables, statistics and plots."""
