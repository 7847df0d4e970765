"""The ``data`` blocks of config.yaml, one file for each task: leaves that load neither NumPy nor pyarrow."""
