"""Stream one answer with the `openai` package: `python client/examples/openai_stream.py "Hello!"`."""

import os
import sys

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:9000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "not needed"),
)
model = client.models.list().data[0].id
question = sys.argv[1] if len(sys.argv) > 1 else "What is the capital of France?"

stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": question}],
    max_tokens=64,
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    if chunk.usage:
        print(
            f"\n{chunk.usage.prompt_tokens} tokens in, {chunk.usage.completion_tokens} out", file=sys.stderr
        )
