"""What Triton serves: the model repository, and the stages that are its models."""
