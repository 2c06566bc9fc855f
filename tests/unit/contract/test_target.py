import re
from pathlib import Path

from support import manifests

from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Limits
from slipway.contract.target import TARGETS

ROOT = Path(__file__).parents[3]
LIMITS = Limits(max_batch_size=4, max_input_len=99, max_seq_len=100)


def test_files_hold_the_name_of_a_target_and_code_the_target() -> None:
    manifest = manifests.manifest(LIMITS, 264)
    for name, target in TARGETS.items():
        values = manifest.model_dump(mode="json") | {"target": name}
        read = Manifest.model_validate(values)
        assert read.target is target
        assert read.model_dump(mode="json") == values


def test_no_code_outside_the_table_names_a_target() -> None:
    quoted = re.compile(rf"""["']({"|".join(TARGETS)})["']""")
    folders = [ROOT / folder for folder in ("slipway", "build", "bench", "client")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    named = [path.relative_to(ROOT).as_posix() for path in files if quoted.search(path.read_text("utf-8"))]
    assert named == ["slipway/contract/target.py"]


def test_every_refusal_says_a_way_out() -> None:
    for target in TARGETS.values():
        reasons = [*target.refuses.values(), *target.refuses_with_several_ends.values()]
        for reason in [*reasons, *(limit.reason for limit in target.limits.values())]:
            assert "; " in reason, reason
