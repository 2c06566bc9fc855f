"""Whether a server that runs shows signs of life: a thread asks every two seconds, sooner when in doubt."""

import threading
import time
from collections.abc import Callable

from slipway.contract.errors import SlipwayError
from slipway.gateway.backends.open_calls import DEAD_ANSWERS
from slipway.gateway.backends.stage_probes import StageDead

_ASK_EVERY_S = 2.0
_ASK_AGAIN_S = 0.5  # after an answer that is none


class Watch:
    """Asks until `stop`. An answer may take seconds, so a thread waits for it.

    ask: raises StageDead when a part of the server has died, another SlipwayError when it does not answer.
    silent_s: seconds without an answer that mean that it hangs.
    """

    def __init__(self, ask: Callable[[], None], silent_s: float) -> None:
        self._ask = ask
        self._silent_s = silent_s
        self._stopped = threading.Event()
        self._answered = time.monotonic()
        self._dead_answers = 0
        self._last_error = ""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    @property
    def in_doubt(self) -> bool:
        """Whether the last question had no answer."""
        return bool(self._last_error)

    @property
    def trouble(self) -> str | None:
        """Why the server must be started again; None while it is well."""
        if self._dead_answers >= DEAD_ANSWERS:
            return self._last_error
        silent = time.monotonic() - self._answered
        if self._last_error and silent > self._silent_s:
            return f"It has not answered for {silent:.0f} s: {self._last_error}"
        return None

    def _run(self) -> None:
        while not self._stopped.wait(_ASK_AGAIN_S if self._last_error else _ASK_EVERY_S):
            try:
                self._ask()
            except StageDead as error:
                self._last_error = str(error)
                self._dead_answers += 1
            except SlipwayError as error:
                self._last_error = str(error)
            else:
                self._answered, self._last_error, self._dead_answers = time.monotonic(), "", 0
