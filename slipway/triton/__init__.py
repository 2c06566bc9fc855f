"""The Triton stages (preprocessing, engine, postprocessing) and the typed writer of config.pbtxt."""
