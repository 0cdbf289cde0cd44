"""deploy/local's scripts: Ctrl-C at any moment leaves nothing behind, and clear words when something is missing."""
import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from conftest import ROOT, SLOW, wait_for

LOCAL = os.path.join(ROOT, "deploy", "local")


def family(session):
    """Live processes of the session that a quickstart of ours leads."""
    found = []
    for p in psutil.process_iter():
        try:
            if os.getsid(p.pid) == session and p.status() != psutil.STATUS_ZOMBIE:
                found.append(p)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


def start_quickstart(tmp_path):
    return subprocess.Popen([os.path.join(LOCAL, "quickstart"), "Write a very long story about the sea."],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                            env={**os.environ, "TMPDIR": str(tmp_path)})


@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.6, 0.9, 1.2, 1.6, 2.5])
@pytest.mark.parametrize("how", ["ctrl-c", "term"])
def test_stopped_at_any_moment_leaves_no_process(tmp_path, how, after_s):
    script = start_quickstart(tmp_path)
    time.sleep(after_s)
    if how == "ctrl-c":
        os.killpg(script.pid, signal.SIGINT)  # what a terminal does: the whole foreground group
    else:
        script.send_signal(signal.SIGTERM)
    out = script.communicate(timeout=60 * SLOW)[0]
    wait_for(lambda: not family(script.pid), 20)
    assert script.returncode in (130, 143, -2, -15), out
    assert os.listdir(tmp_path) == [], out


@pytest.mark.parametrize("line", [b"Starting", b"POST"])
def test_killed_outright_leaves_no_server(tmp_path, line):
    script = start_quickstart(tmp_path)
    for got in script.stdout:
        if got.startswith(line):
            break
    assert family(script.pid)
    script.kill()
    script.communicate(timeout=60 * SLOW)
    wait_for(lambda: not family(script.pid), 20)


@pytest.fixture
def stubbed(tmp_path):
    """run(script, commands) with programs of our own first in PATH."""
    def run(script, commands, **env):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in commands.items():
            path = folder / name
            path.write_text("#!/bin/sh\n" + text + "\n")
            path.chmod(0o755)
        return subprocess.run([os.path.join(LOCAL, script)], capture_output=True, text=True, timeout=120 * SLOW,
                              start_new_session=True, env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}",
                                   "MSGL_HOME": str(tmp_path / "home"), **env})
    return run


NOT_INSTALLED = {"dpkg-query": "exit 1"}


def test_install_without_rights(stubbed):
    done = stubbed("install", {**NOT_INSTALLED, "id": "echo 1000", "sudo": "exit 1", "apt-get": "exit 100"})
    assert done.returncode != 0 and "sudo gives no rights" in done.stderr and "libh2o-dev" in done.stderr


def test_install_without_rights_and_without_sudo(tmp_path, stubbed):
    """A PATH that holds only what the script itself uses."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "awk", "df", "mktemp", "rm", "tail", "basename", "env", "cat", "mkdir"):
        os.symlink(shutil.which(name), folder / name)
    done = stubbed("install", {**NOT_INSTALLED, "id": "echo 1000", "apt-get": "exit 100"}, PATH=str(folder))
    assert done.returncode != 0 and "root" in done.stderr and "libh2o-dev" in done.stderr


def test_install_without_a_network(stubbed):
    done = stubbed("install", {**NOT_INSTALLED, "id": "echo 0", "apt-get": "echo 'Could not resolve host'; exit 100"})
    assert done.returncode != 0 and "network" in done.stderr and "Could not resolve" in done.stderr


def test_install_on_another_system(stubbed, tmp_path):
    done = stubbed("install", {**NOT_INSTALLED, "apt-get": "exit 1"}, PATH=str(tmp_path / "bin") + ":/nowhere")
    assert done.returncode != 0  # nothing at all is there: bash itself says so
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "mktemp", "rm", "basename", "env"):
        os.symlink(shutil.which(name), folder / name)
    done = stubbed("install", {}, PATH=str(folder))
    assert done.returncode != 0 and "apt-get" in done.stderr and "packages.txt" in done.stderr


def test_install_without_disk(stubbed):
    full = {"df": "echo head; echo x 100 95 5 95% /"}
    done = stubbed("install", {**NOT_INSTALLED, **full, "id": "echo 0", "apt-get": "exit 0"})
    assert done.returncode != 0 and "5 MiB free" in done.stderr
    done = stubbed("install", full)  # the packages are there, the environment is not
    assert done.returncode != 0 and "MSGL_HOME" in done.stderr


def test_install_without_the_python_registry(stubbed):
    done = stubbed("install", {}, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_FIND_LINKS="",
                   PIP_NO_CACHE_DIR="1")
    assert done.returncode != 0 and "pip" in done.stderr and "network" in done.stderr


def test_an_older_environment_is_updated_in_place(stubbed, tmp_path):
    """Other pins: pip runs in the environment that is there, and the tests' packages stay if they were there."""
    venv, said = tmp_path / "home" / "venv", tmp_path / "said"
    for had, wanted in (("tests=1", True), ("tests=", False)):
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "python").write_text(f'#!/bin/sh\necho "$@" >>{said}\n')
        (venv / "bin" / "python").chmod(0o755)
        (venv / "msgl-made-for").write_text(f"numpy==0.1\n{had}\n")
        said.write_text("")
        done = stubbed("install", {})
        assert done.returncode == 0, done.stderr
        assert "-m pip install" in said.read_text() and "-m venv" not in said.read_text()
        assert ("pytest" in said.read_text()) == wanted
        assert (venv / "msgl-made-for").read_text().endswith(had + "\n")
        said.write_text("")
        assert stubbed("install", {}).returncode == 0 and said.read_text() == ""  # now it is as wanted


def test_install_with_sudo(stubbed, tmp_path):
    """Not root: apt-get runs through sudo, after sudo was asked for the rights."""
    said = tmp_path / "said"
    done = stubbed("install", {"dpkg-query": f'[ -f {said} ] && grep -q apt-get {said} && printf installed', "id": "echo 1000",
                               "sudo": f'echo "$@" >>{said}; [ "$1" = -v ] || exec "$@"', "apt-get": "exit 0",
                               "df": "echo head; echo x 9000000 5 8000000 5% /"},
                   PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_NO_CACHE_DIR="1")
    lines = said.read_text().splitlines()
    assert lines[0] == "-v" and "apt-get install" in lines[1] and "libh2o-dev" in lines[1], lines
    assert "pip" in done.stderr  # the next step, which has no network here


def test_ctrl_c_as_the_step_that_may_ask_ends_well(stubbed, tmp_path):
    """Not root, everything is installed; the Ctrl-C comes to the script during the step's last command."""
    venv = tmp_path / "home" / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text("#!/bin/sh\n")
    (venv / "bin" / "python").chmod(0o755)
    with open(os.path.join(LOCAL, "versions.txt"), encoding="utf-8") as f:
        (venv / "msgl-made-for").write_text(f.read() + "tests=\n")
    done = stubbed("quickstart", {"dpkg-query": "printf installed", "id": "echo 1000",
                                  "flock": "kill -INT $(awk '{ print $4 }' /proc/$PPID/stat); sleep 0.2"})
    assert done.returncode == 130 and "Building" not in done.stdout, done.stdout + done.stderr


def test_ctrl_c_reaches_the_step_that_may_ask(stubbed, tmp_path):
    """All of the group gets it from a terminal: what runs in the step ends by it, and then the script."""
    said = tmp_path / "said"
    done = stubbed("quickstart", {"dpkg-query": "printf installed", "id": "echo 1000",
                                  "flock": f"trap 'echo heard >>{said}; exit 1' INT; kill -INT 0; sleep 5; echo slept >>{said}"})
    assert done.returncode in (130, -2) and said.read_text() == "heard\n", done.stdout + done.stderr


def test_home_that_cannot_be_written(stubbed, tmp_path):
    (tmp_path / "file").write_text("")
    done = stubbed("quickstart", {}, MSGL_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode != 0 and "MSGL_HOME" in done.stderr


def test_model_without_the_environment(stubbed):
    done = stubbed("model", {})
    assert done.returncode != 0 and "deploy/local/install" in done.stderr


def test_build_without_cmake(stubbed, tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "dirname", "basename", "env"):
        os.symlink(shutil.which(name), folder / name)
    done = stubbed("build", {}, PATH=str(folder))
    assert done.returncode != 0 and "deploy/local/install" in done.stderr


def test_second_install_is_quick():
    started = time.monotonic()
    done = subprocess.run([os.path.join(LOCAL, "install")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 10 * SLOW
