"""From sources to batches: download and verify, Parquet shards, batches for training."""
