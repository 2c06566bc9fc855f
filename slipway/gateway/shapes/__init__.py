"""What the bodies, answers and errors of several APIs have in common."""
