"""Prints a .pth file that gives another Python the packages of this one.

NVIDIA's image has TensorRT-LLM in a virtual environment, /opt/venv-tritonserver (tensorrtllm_backend r26.07,
dockerfile/Dockerfile.triton.trt_llm_backend). An environment made from it sees the system's packages at most.
"""

import site

for folder in site.getsitepackages():
    # addsitedir, because the folder's own .pth files must count too.
    print(f"import site; site.addsitedir({folder!r})")
