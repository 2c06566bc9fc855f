"""The ONNX engine in process: scheduler, KV slots, sampling; used by `gateway` and `ensemble`."""
