"""From a checkpoint on disk to an engine that serves: check, merge, quantize, compile, lay out."""
