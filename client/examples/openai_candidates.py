"""Several answers to one prompt: `python client/examples/openai_candidates.py "A poem:"`.

The server reads the prompt once and decodes the answers in one batch, so four answers take little longer than
one. Answer i has the seed `seed + i`. To get the likeliest of several, use `best_of` of plain completions.
"""

import os
import sys

from openai import OpenAI

CANDIDATES = 4


def main(question: str) -> None:
    """Request all candidates together and print them in order."""
    url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:9000/v1")
    key = os.environ.get("OPENAI_API_KEY", "not needed")
    with OpenAI(base_url=url, api_key=key) as client:
        answers = client.chat.completions.create(
            model=client.models.list().data[0].id,
            messages=[{"role": "user", "content": question}],
            n=CANDIDATES,
            max_tokens=48,
            temperature=0.8,
            seed=0,
        )
    for answer in answers.choices:
        print(f"[{answer.index}] {answer.message.content}\n")


main(sys.argv[1] if len(sys.argv) > 1 else "Write one sentence about the sea.")
