"""The engine in process: scheduler, KV slots, executors, sampling, grammars."""
