"""An environment in which wheels are installed as a third party would, without a second copy of torch.

A new virtual environment with torch takes gigabytes and minutes. This one is empty, and a .pth file adds the
site-packages of the running interpreter at the end of its path: torch and the other dependencies come from
there. The synflow-bench installed there, editable or not, must not be imported. Paths that a .pth file adds
come after the environment's own folder, and .pth files in them are not read, so that an editable installation
has no effect. Its metadata is hidden by that of the wheel, which comes first under the same name. The tests
verify both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

BUILD = ("-m", "build", "--wheel", "--no-isolation", "--outdir")


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment in `folder`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> CleanEnvironment:
        """Make an environment, with the packages of the running interpreter after its own."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        environment = cls(folder)
        paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (environment.site / "zz_dependencies.pth").write_text("\n".join(sorted(paths)))
        return environment

    @property
    def site(self) -> Path:
        """The site-packages folder of the environment."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        return site

    def install(self, *wheels: Path) -> None:
        """Install wheels without their dependencies; packages of the running interpreter stay."""
        pip = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed"]
        self.python("-m", *pip, *map(str, wheels)).check_returncode()

    def python(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the interpreter of the environment, by default outside the sources."""
        return self._run("python", *arguments, cwd=cwd)

    def synflow_bench(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command `synflow-bench` of the environment."""
        return self._run("synflow-bench", *arguments, cwd=cwd)

    def _run(self, program: str, *arguments: str, cwd: Path | None) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=cwd or self.folder,
            env={**kept, "OMP_NUM_THREADS": "1", "SYNFLOW_BENCH_STRICT": "1"},
            capture_output=True,
            text=True,
            timeout=540,
        )


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a project with the installed build tools."""
    before = set(folder.glob("*.whl"))
    done = subprocess.run(
        [sys.executable, *BUILD, str(folder), str(project)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel
