"""Engines for ONNX Runtime: exported, quantized, read back."""
