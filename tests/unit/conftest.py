"""What counts for the unit tests alone."""

from hypothesis import settings

# A busy machine makes any example slow once. In CI hypothesis draws the same examples in every run besides.
settings.register_profile("of any speed", settings(), deadline=None)
settings.load_profile("of any speed")
