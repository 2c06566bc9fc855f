"""The steps of the check: each is a title, and a function that returns what was seen or raises."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from containers.container_engine import ContainerEngine
from containers.question import Stream, answer, status
from support.waiting import wait_until

ALIAS = "gpt-4o"
MAX_GATEWAY_MB = 400
_READY_S = 300
_LONG = 200
# In the container, as its user: the process whose command line has the words.
_KILL = """
import os, psutil, signal, sys
for process in psutil.process_iter():
    if sys.argv[1] in ' '.join(process.cmdline()) and process.pid != os.getpid():
        process.kill()
        print(process.pid)
        break
else:
    sys.exit('no such process')
"""


@dataclass(frozen=True)
class Profile:
    """A profile of compose.yaml: its services, and the process to kill in the one that runs the engine.

    services: the one that answers HTTP first.
    """

    name: str
    services: tuple[str, ...]
    engine_service: str
    part: str


PROFILES = {
    each.name: each
    for each in (
        Profile("cpu", ("cpu",), "cpu", "slipway.runtime.worker"),
        Profile("triton-cpu", ("gateway", "triton-cpu"), "triton-cpu", "triton_python_backend_stub"),
    )
}
Step = tuple[str, Callable[[], str]]


def steps(engine: ContainerEngine, profile: Profile, url: str, model: str) -> Iterator[Step]:
    """The steps, in order; each needs those before it."""
    given = (engine, profile, url, model)
    yield "images are built", partial(_build, engine, profile)
    yield "containers start and are ready", partial(_start, engine, profile, url)
    yield "the user is not root, the root is read-only", partial(_confined, engine, profile)
    yield "health checks are kept and pass", partial(_healthy, engine, profile)
    yield "a chat answer", partial(_answer, url, model)
    yield f"SLIPWAY_ALIAS counts: {ALIAS} answers", partial(_answer, url, ALIAS)
    yield "a stream", partial(_stream, url, model)
    yield f"{profile.part} is killed in a stream", partial(_kill_part, *given)
    yield f"the container of {profile.services[0]} ends", partial(_end_server, *given)
    yield "the containers are stopped in a stream", partial(_drain, *given)
    yield "containers and network are removed", partial(_remove, engine, profile, url)


def _build(engine: ContainerEngine, profile: Profile) -> str:
    engine.run_compose(profile.name, "build", *profile.services)
    sizes = {name: engine.image_bytes(f"slipway-{name}") / 1e6 for name in profile.services}
    if sizes.get("gateway", 0) > MAX_GATEWAY_MB:
        raise ValueError(f"the gateway's image has {sizes['gateway']:.0f} MB, more than {MAX_GATEWAY_MB}")
    return ", ".join(f"slipway-{name} {size:.0f} MB" for name, size in sizes.items())


def _start(engine: ContainerEngine, profile: Profile, url: str) -> str:
    engine.run_compose(profile.name, "up", "--detach")
    return f"{_wait_for_answers(url):.1f} s after the start"


def _wait_for_answers(url: str) -> float:
    return wait_until(lambda: status(f"{url}/health/ready") == 200, _READY_S, every=0.2)


def _confined(engine: ContainerEngine, profile: Profile) -> str:
    for service in profile.services:
        user = engine.run("exec", engine.container(service), "id", "-u").strip()
        if user == "0" or not engine.inspect(service)["HostConfig"]["ReadonlyRootfs"]:
            raise ValueError(f"{service} runs as user {user}, and its root may be writable")
    return f"user {user}"


def _healthy(engine: ContainerEngine, profile: Profile) -> str:
    for service in profile.services:
        check = engine.inspect(service)["Config"]["Healthcheck"]["Test"]
        # Podman writes the list of compose as one word.
        words = " ".join(check).translate(str.maketrans("", "", '[]",')).split()
        engine.run("exec", engine.container(service), *words[words.index("healthcheck") :])
    return " ".join(words)


def _answer(url: str, model: str) -> str:
    text, reason = answer(url, model)
    if "Paris" not in text:
        raise ValueError(f"{model} says {text!r}")
    return f"{text} ({reason})"


def _stream(url: str, model: str) -> str:
    stream = Stream(url, model, 20).join()
    if stream.finish_reason != "length" or not stream.complete:
        raise ValueError(str(stream))
    return str(stream)


def _kill_part(engine: ContainerEngine, profile: Profile, url: str, model: str) -> str:
    stream = Stream(url, model, 4 * _LONG)
    killed = engine.run(
        "exec", engine.container(profile.engine_service), "python3", "-c", _KILL, profile.part
    )
    if stream.join().error is None:
        raise ValueError(f"process {killed.strip()} was killed, and the stream went on: {stream}")
    seconds = _wait_for_answers(url)
    return f"the stream ended with {stream.error}; ready {seconds:.1f} s later: {_answer(url, model)}"


def _end_server(engine: ContainerEngine, profile: Profile, url: str, model: str) -> str:
    service = profile.services[0]
    before = engine.inspect(service)["State"]["StartedAt"]
    engine.run("exec", engine.container(service), "python3", "-c", "import os; os.kill(1, 15)")
    wait_until(lambda: engine.inspect(service)["State"]["StartedAt"] != before, every=0.5)
    return f"started again; ready {_wait_for_answers(url):.1f} s later: {_answer(url, model)}"


def _drain(engine: ContainerEngine, profile: Profile, url: str, model: str) -> str:
    stream = Stream(url, model, _LONG)
    pieces = stream.pieces
    engine.run_compose(profile.name, "stop")
    if stream.join().finish_reason != "length" or not stream.complete:
        raise ValueError(f"the stream was cut: {stream}")
    ended = {service: engine.inspect(service)["State"]["ExitCode"] for service in profile.services}
    if any(ended.values()):
        raise ValueError(f"exit statuses: {ended}")
    return f"{stream}; {pieces} pieces before the stop; exit status 0"


def _remove(engine: ContainerEngine, profile: Profile, url: str) -> str:
    engine.run_compose(profile.name, "down")
    if left := engine.containers():
        raise ValueError(f"containers are left: {', '.join(left)}")
    if status(f"{url}/health/live") is not None:
        raise ValueError(f"{url} still answers")
    return "nothing is left"
