"""The configuration: config.yaml, its schema, and the settings of each kind of job."""
