"""A program for an isolated process, which takes the time and the memory that it is asked to take."""

import os
import time
from typing import Any

from slipway.runtime.isolated.program import run_program

MAX_BYTES = 200_000_000


class Greedy:
    def open(self, opening: Any) -> Any:
        return {"opened": opening}

    def answer(self, question: Any) -> Any:
        print("not a reply", flush=True)
        time.sleep(question.get("seconds", 0))
        held = b"x" * question.get("bytes", 0)
        if "status" in question:
            os._exit(question["status"])
        return {"held": len(held), "pid": os.getpid(), "text": question.get("text")}


if __name__ == "__main__":
    run_program(Greedy(), MAX_BYTES)
