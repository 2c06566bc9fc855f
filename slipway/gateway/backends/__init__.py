"""Where answers come from: `base` says what a backend is, one file for each kind."""
