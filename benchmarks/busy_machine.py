"""Training steps per second alone and beside other programs, with spinning and sleeping threads.

Sleeping threads (`pipelines.core.compute`) should slow down in proportion to the load. Spinning
ones wait for a thread that is not running, and take its time.
"""

from __future__ import annotations

import os
import subprocess
import sys

SECONDS = 5
STEPS = f"""
import time, torch
conv = torch.nn.Sequential(torch.nn.Conv2d(48, 48, 3, padding=1), torch.nn.SiLU())
line = torch.nn.Sequential(torch.nn.Linear(128, 256), torch.nn.GELU(), torch.nn.Linear(256, 128))
image, text = torch.randn(16, 48, 32, 32), torch.randn(64, 60, 128)
begin, steps = time.monotonic(), 0
while time.monotonic() - begin < {SECONDS}:
    (conv(image).square().mean() + line(text).square().mean()).backward()
    steps += 1
print(steps / (time.monotonic() - begin))
"""
WAITING = {
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
}


def main() -> None:
    cores = os.cpu_count() or 1
    for others in (0, cores, 4 * cores):
        burners = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)
        ]
        try:
            for name, variables in WAITING.items():
                print(f"{others:3} other programs, {name}: {measure(variables):6.2f} steps/s")
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()


def measure(variables: dict[str, str]) -> float:
    """Return the steps per second of a fresh process."""
    command = [sys.executable, "-c", STEPS]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
