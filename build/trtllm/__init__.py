"""Engines for TensorRT-LLM: planned, converted, calibrated, compiled."""
