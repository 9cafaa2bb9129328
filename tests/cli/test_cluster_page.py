"""The page on several machines: its files parse, its flags exist, and its sums are right."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kaleido_cli.app import COMMANDS, load

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "several-machines.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [
        line
        for kind in ("", "bash", "yaml")
        for block in blocks(kind)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    found = [re.search(r"(?:kaleido|-m kaleido_cli) ([a-z].*)", line) for line in lines]
    return [match[1].partition("#")[0].rstrip("' ") for match in found if match]


@pytest.mark.parametrize("command", commands())
def test_its_commands_have_these_flags(command) -> None:
    words = [word for word in shlex.split(command) if word != "…"]
    assert words[0] in COMMANDS
    found, rest = load(words[0]), words[1:]
    if hasattr(found, "commands"):
        found, rest = found.commands[rest[0]], rest[1:]
    found.make_context(command, rest, resilient_parsing=False)


def test_the_page_has_commands_of_each_kind() -> None:
    assert {line.split()[0] for line in commands()} == {
        *("push", "pull", "extract", "sample", "evaluate", "train")
    }


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_its_scripts_are_valid() -> None:
    scripts = blocks("bash")
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_its_launchers_have_these_flags() -> None:
    launch = pytest.importorskip("accelerate.commands.launch")
    from torch.distributed.run import get_args_parser

    (line,) = re.findall(r"accelerate launch (.*?)'", PAGE, re.DOTALL)
    filled = re.sub(r'"\$[^"]*"', "1", line.replace("\\\n", " "))
    asked = launch.launch_command_parser().parse_args(shlex.split(filled))
    assert asked.module and asked.training_script == "kaleido_cli" and asked.num_machines == 1
    (line,) = re.findall(r"`torchrun (.*?)`", PAGE, re.DOTALL)
    asked = get_args_parser().parse_args(shlex.split(re.sub(r'"\$[^"]*"', "1", line)))
    assert asked.module and asked.training_script_args == ["train", "prior"]


def test_the_job_of_kuberay_mounts_what_it_declares() -> None:
    yaml = pytest.importorskip("yaml")
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups: list[dict[str, Any]] = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        (mount,) = container["volumeMounts"]
        assert f"--workspace {mount['mountPath']}/" in job["spec"]["entrypoint"]
        assert isinstance(group["rayStartParams"], dict)
    gpus = sum(group.get("replicas", 1) for group in groups)
    assert f"--workers {gpus}" in job["spec"]["entrypoint"]


def test_its_sums_are_right() -> None:
    rows = re.findall(
        r"^\| (\d+) million \| (\d+) ms.*?\| ([\d.,]+) \| (.*?) \| ([\d,]+) \|$", PAGE, re.M
    )
    assert len(rows) == 4
    for millions, ms, hours, time, price in rows:
        exact = int(millions) * 1e6 * int(ms) / 1e3 / 3600
        assert float(hours.replace(",", "")) == pytest.approx(exact, rel=0.01)
        assert float(price.replace(",", "")) == pytest.approx(exact * 2.5, rel=0.01)
        number, unit = time.split()
        seconds = {"minutes": 60, "hours": 3600, "days": 86400}[unit]
        assert float(number) * seconds == pytest.approx(exact * 3600 / 32, rel=0.05)
