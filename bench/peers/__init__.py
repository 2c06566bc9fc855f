"""Programs that each run one engine for a comparison, in a process of its own.

A program is started with the Python that has the engine's packages. It imports these and the modules `child`
and `local_server` beside it, and no other module imports a program.
"""
