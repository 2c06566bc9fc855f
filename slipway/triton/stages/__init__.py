"""The models that Triton loads: preprocessing, engine and postprocessing, or llmapi alone."""
