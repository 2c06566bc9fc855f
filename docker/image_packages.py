"""Prints a .pth file with the packages of the Python that runs it, for another one; run by triton.Dockerfile.

NVIDIA's image has TensorRT-LLM in a virtual environment, /opt/venv-tritonserver (tensorrtllm_backend r26.07,
dockerfile/Dockerfile.triton.trt_llm_backend), and one made from it sees the system's packages at most.
"""

import site

for folder in site.getsitepackages():
    # Not the folder alone: .pth files in it count too.
    print(f"import site; site.addsitedir({folder!r})")
