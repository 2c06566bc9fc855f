"""The forward pass: what an executor is, and one file for each library that runs it."""
