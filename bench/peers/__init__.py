"""The engines `python -m bench runtime --peers` measures ours against, each a process of its own.

One file per peer, started by `bench.lineup` with the Python that has the peer's packages: they import what
they measure and, of this checkout, only `bench.peers.child`. Nobody imports them.
"""
