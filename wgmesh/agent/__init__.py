"""The pipeline: the one place where the core and the shell meet."""
