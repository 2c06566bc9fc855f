"""From a checkpoint on disk to an engine that serves: read, check, quantise, compile, lay out."""
