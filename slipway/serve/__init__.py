"""Starts the servers on this machine: Triton alone, or Triton and the gateway together."""
