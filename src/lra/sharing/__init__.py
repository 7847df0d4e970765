"""Exchange of runs between arenas: archives, merging, publications."""
