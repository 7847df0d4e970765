"""Runs that leave this arena or come from elsewhere: archives, merging, publications."""
