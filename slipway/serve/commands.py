"""The commands `slipway triton`, `slipway serve` and `slipway doctor`."""

from pathlib import Path

from typer import Exit

from slipway.serve.options import ServeOptions, TritonOptions


def triton(options: TritonOptions) -> None:
    """Run Triton alone, in the foreground, with its log as it is, until Ctrl-C or SIGTERM.

    Triton is started again when it dies, or when one of its stages dies or hangs. At the end, running answers
    have --drain-timeout seconds. Where an engine takes several GPUs, Triton runs under mpirun, with a process
    for each.

    - `slipway triton` serves the models of `model_repository` on the ports 8000, 8001 and 8002.
    - `slipway triton --engines engines --model-repository /tmp/models` makes the models of all engines first.
    - `slipway triton --dry-run` prints the line that would start it.
    """
    from slipway.serve import supervisor, tritonserver
    from slipway.serve.volume import write_models

    if not options.dry_run:
        write_models(options.engines, options.model_repository)
    start = tritonserver.start(options.model_repository.resolve(), options.host, options.ports)
    if options.dry_run:
        print(start)
        return
    start.check()
    supervisor.triton(options, start)


def serve(options: ServeOptions) -> None:
    """Run Triton and the gateway together, until Ctrl-C or SIGTERM.

    Triton listens on this machine's loopback only; the gateway speaks OpenAI's API. When the engines are
    loaded you see a `curl` line that asks one of them. The logs are in `.cache/logs`.

    What dies or hangs is started again; after six failures in a row the command ends with the last error. At
    the end, running requests have --drain-timeout seconds. A second signal ends all at once.

    - `slipway serve` serves every engine of `model_repository` at http://127.0.0.1:9000/v1.
    - `slipway serve --port 9001 --triton-http-port 9002 --triton-grpc-port 9003 --triton-metrics-port 9004`
      is a second one beside the first.
    """
    from slipway.serve import supervisor

    supervisor.serve(options)


def doctor(options: ServeOptions) -> None:
    """Check whether this machine can serve, with the options of `slipway serve`, and start nothing.

    You see a line for Python, Triton, the ports and each engine: `ok`, or `problem` and what to do. The exit
    status is 1 if there is a problem.

    - `slipway doctor` checks what `slipway serve` would start.
    """
    from slipway.serve.doctor import examine

    if not examine(options, Path("engines")):
        raise Exit(1)
