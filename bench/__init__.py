"""Load tests of an OpenAI-compatible server: Locust users, raw samples, percentiles. Knows only HTTP."""
