"""The servers as processes of this machine: Triton alone, or Triton and the gateway together."""
