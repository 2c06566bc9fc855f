"""compose.yaml: valid, safe to publish, and true to the images and to the settings of the code."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.images import compose_text, image_of, services
from support.paths import ROOT
from typer.main import get_command

from slipway.__main__ import app
from slipway.gateway.settings import Settings
from slipway.gateway.workers import CLOSE_S

BIN = Path(sys.executable).parent
SERVICES = services()
SERVERS = {name: service for name, service in SERVICES.items() if name != "build"}

each_server = pytest.mark.parametrize("service", SERVERS.values(), ids=SERVERS.keys())


def variables(command: str) -> set[str]:
    """The environment variables of the options of a command of `slipway`."""
    parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {parameter.envvar for parameter in parameters if parameter.envvar}


def command_of(service: dict[str, Any]) -> set[str]:
    """The environment variables of what a service runs."""
    return variables(image_of(service).command[1])


def test_compose_files_are_valid():
    files = [ROOT / name for name in ("compose.yaml", "compose.keys.yaml")]
    check = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_profile_starts_what_it_needs_and_nothing_else():
    in_profile = {
        profile: {name for name, service in SERVICES.items() if profile in service["profiles"]}
        for profile in ("cpu", "gpu", "triton-cpu", "build")
    }
    assert in_profile == {
        "cpu": {"cpu"},
        "gpu": {"triton", "gateway"},
        "triton-cpu": {"triton-cpu", "gateway"},
        "build": {"build"},
    }


@pytest.mark.parametrize("name", ["triton", "triton-cpu"])
def test_triton_brings_the_gateway(name: str):
    assert SERVICES[name]["depends_on"] == {"gateway": {"condition": "service_started"}}
    assert "depends_on" not in SERVICES["gateway"]


def test_gpus_are_asked_for_where_they_are_needed_alone():
    with_gpus = {name for name, service in SERVICES.items() if "deploy" in service}
    assert with_gpus == {"triton", "build"}
    [device] = SERVICES["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    plain = {SERVICES[name]["build"]["args"]["BASE"] for name in ("cpu", "gateway", "triton-cpu")}
    [base] = plain
    assert base.startswith("python:3.12.")


def test_with_keys_no_server_runs_insecure():
    added = yaml.safe_load(compose_text("compose.keys.yaml"))["services"]
    assert added.keys() == {"cpu", "gateway"}
    for name, service in added.items():
        folder = service["volumes"][0].split(":")[1]
        assert service["environment"] == {"SLIPWAY_INSECURE": "0", "SLIPWAY_KEYS": f"{folder}/keys.yaml"}
        assert SERVICES[name]["environment"]["SLIPWAY_INSECURE"] == 1


@each_server
def test_ports_are_published_on_loopback_only(service: dict[str, Any]):
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@each_server
def test_exposed_ports_are_the_published_ones(service: dict[str, Any]):
    assert [port.split(":")[-1] for port in service["ports"]] == image_of(service).ports


@each_server
def test_a_container_that_ends_is_started_again_and_has_time_to_drain(service: dict[str, Any]):
    assert service["restart"] == "unless-stopped"
    assert int(service["stop_grace_period"].removesuffix("s")) >= Settings().drain_timeout + CLOSE_S


@each_server
def test_a_server_is_no_root_and_writes_to_memory_alone(service: dict[str, Any]):
    assert image_of(service).words["USER"] == "1000:1000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert image_of(service).environment["HOME"] in {each.partition(":")[0] for each in service["tmpfs"]}


@each_server
def test_mounted_folders_are_data_read_only_and_where_the_code_looks(service: dict[str, Any]):
    image = image_of(service)
    for volume in service["volumes"]:
        source, target, mode = volume.split(":")
        assert (ROOT / source).is_dir()
        assert target == f"{image.words['WORKDIR']}/{source.removeprefix('./')}"
        assert mode == "ro"
        assert target in ("/app/engines", "/app/model_repository")
    assert not {place for place in image.copied.values() if place.startswith("/app")}, "no code lies there"


@each_server
def test_the_command_leaves_every_setting_to_the_environment(service: dict[str, Any]):
    slipway, subcommand, *options = image_of(service).command
    assert (slipway, options) == ("slipway", [])
    done = subprocess.run([BIN / slipway, subcommand, "--help"], capture_output=True, check=False)
    assert done.returncode == 0


@each_server
def test_variables_of_image_and_compose_are_settings(service: dict[str, Any]):
    given = {*service["environment"], *image_of(service).environment}
    mine = {name for name in given if name.startswith("SLIPWAY_")}
    assert mine <= command_of(service) | {"SLIPWAY_SPECULATION"}


@each_server
def test_every_setting_can_be_given_in_the_shell(service: dict[str, Any]):
    """Those left out are the container's own: where it listens, and what its folders are."""
    own = {"SLIPWAY_HOST", "SLIPWAY_KEYS", "SLIPWAY_BACKEND", "SLIPWAY_ENGINES"}
    own |= {name for name in variables("triton") if name.startswith("SLIPWAY_TRITON_")}
    # The local backend's, or Triton's.
    triton = "SLIPWAY_BACKEND" in image_of(service).environment
    own |= {"SLIPWAY_ENGINE", "SLIPWAY_THREADS"} if triton else {"SLIPWAY_TRITON_URL", "SLIPWAY_WORKERS"}
    assert command_of(service) - own <= service["environment"].keys()


@each_server
def test_the_health_check_is_in_the_image_and_in_compose(service: dict[str, Any]):
    """Images of Podman's own format have none; the port is the one that the environment says."""
    check = image_of(service).health_check
    assert service["healthcheck"]["test"] == ["CMD", *check]
    program, variable, path = check
    assert image_of(service).copied == {f"docker/{program}": "/usr/local/bin/"}
    assert variable in command_of(service)
    assert image_of(service).environment[variable] in image_of(service).ports
    assert path.startswith("/")


def test_the_gateway_looks_for_triton_where_compose_puts_it():
    host, port = image_of(SERVICES["gateway"]).environment["SLIPWAY_TRITON_URL"].split(":")
    assert host in SERVICES
    for name in (host, "triton-cpu"):
        assert f"127.0.0.1:{port}:{port}" in SERVICES[name]["ports"]
    assert SERVICES["triton-cpu"]["networks"] == {"default": {"aliases": [host]}}


def test_engines_are_compiled_in_the_image_that_serves_them():
    build, triton = SERVICES["build"], SERVICES["triton"]
    assert (build["build"], build["image"]) == (triton["build"], triton["image"])
    assert build["deploy"] == triton["deploy"]
    assert "ports" not in build
    assert build["volumes"] == [f".:{image_of(build).words['WORKDIR']}"]
    assert build["environment"]["USER"], "any user can be given, also one that the image does not know"


def test_the_build_service_takes_what_the_build_command_takes():
    python, *command = SERVICES["build"]["entrypoint"]
    assert python == "python3"
    asked = [sys.executable, *command, *SERVICES["build"]["command"]]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert " engine " in done.stdout
