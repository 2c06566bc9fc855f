"""Engines for ONNX Runtime: exported, quantized, checked."""
