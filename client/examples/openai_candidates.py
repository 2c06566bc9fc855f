"""Several answers to one prompt at the same time: `python client/examples/openai_candidates.py "A poem:"`.

The server decodes them in one batch, so four take little longer than one; each has a seed of its own.
"""

import asyncio
import os
import sys

from openai import AsyncOpenAI

CANDIDATES = 4


async def main(question: str) -> None:
    """Ask for all candidates together and print them in order."""
    url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:9000/v1")
    async with AsyncOpenAI(base_url=url, api_key="not needed") as client:
        model = (await client.models.list()).data[0].id
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": question}],
                    max_tokens=48,
                    temperature=0.8,
                    seed=seed,
                )
                for seed in range(CANDIDATES)
            )
        )
    for seed, answer in enumerate(answers):
        print(f"[{seed}] {answer.choices[0].message.content}\n")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "Write one sentence about the sea."))
