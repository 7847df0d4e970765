"""What is run: config.yaml, its schema, and the settings of every kind of job."""
