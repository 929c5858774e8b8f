"""Make `.venv` hold one pinned set (`requirements/<set>.txt`) and the members of this repository.

    python3 requirements/install.py demo|dev [FOLDER]

FOLDER is made in place of `.venv`. Uses uv when it is on the path, else pip. The sets are whole
closures, so nothing is resolved here. Runs on old Pythons far enough to say that they are too old.
"""

import glob
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, *sys.argv[2:3] or [".venv"])
VENV_PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 11)


def members():
    """Return the folders of the distributions: shared/ and every services/<name>/."""
    found = glob.glob(os.path.join(ROOT, "services", "*", "pyproject.toml"))
    return [os.path.join(ROOT, "shared"), *sorted(os.path.dirname(path) for path in found)]


def run(*command):
    """Run a command in the root; ends this program with its exit code when it fails."""
    code = subprocess.call(command, cwd=ROOT)
    if code != 0:
        sys.exit("`{}` ended with exit code {}".format(" ".join(command), code))


def find_uv():
    """Return the path of uv, the one that an earlier set-up installed included, or None."""
    return shutil.which("uv", path=os.pathsep.join([os.environ["PATH"], os.path.join(VENV, "bin")]))


def make_venv(uv):
    """Create `.venv`, unless a working one is there."""
    if os.path.exists(VENV_PYTHON):
        check = "import sys; sys.exit(sys.version_info < {})".format(OLDEST)
        if subprocess.call([VENV_PYTHON, "-c", check]) == 0:
            return
    shutil.rmtree(VENV, ignore_errors=True)
    if uv:
        run(uv, "venv", "--quiet", "--python", sys.executable, VENV)
        return
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        sys.exit(
            "python3 has no venv with pip here: install it (Debian: apt-get install python3-venv), "
            "or install uv"
        )
    run(sys.executable, "-m", "venv", VENV)


def main():
    """Install the set named on the command line."""
    name = sys.argv[1]
    if sys.version_info < OLDEST:
        sys.exit(
            "Aixgo needs Python {}.{} or newer, and {} is {}.{}; name another one, for example: "
            "make demo PYTHON=python3.12".format(*OLDEST, sys.executable, *sys.version_info[:2])
        )
    uv = find_uv()
    tool = "uv" if uv else "pip"
    folder = os.path.relpath(VENV, ROOT)
    sys.stdout.write("setting up {} with {} (set {!r}) …\n".format(folder, tool, name))
    sys.stdout.flush()
    make_venv(uv)
    uv = find_uv()  # a venv that had to be made anew took its own uv along
    if uv:
        install = [uv, "pip", "install", "--quiet", "--python", VENV_PYTHON, "--no-deps"]
    else:
        install = [VENV_PYTHON, "-m", "pip", "install", "-qq", "--no-deps"]
        install.append("--disable-pip-version-check")
    run(*install, "-r", os.path.join("requirements", name + ".txt"))
    editables = [word for folder in members() for word in ("-e", folder)]
    run(*install, "--no-build-isolation", *editables)


if __name__ == "__main__":
    main()
