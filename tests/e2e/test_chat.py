"""msgl chat in a terminal: Ctrl-C at the prompt and in an answer, history across starts, text beyond ASCII."""
import os

import pexpect
import pytest
from conftest import SLOW
from test_cli import MSGL, serve  # noqa: F401  (a fixture)


@pytest.fixture
def talk(serve, tmp_path):  # noqa: F811
    server = serve("--kv-mib", "256")

    def start(*args, **env):
        child = pexpect.spawn(MSGL, ["chat", "--url", server.url, *args], encoding="utf-8", timeout=60 * SLOW,
                              env={**os.environ, "TERM": "xterm", "MSGL_HOME": str(tmp_path / "home"), **env})
        child.expect("> ")
        return child
    return start


def end(child):
    child.send("\x04")  # Ctrl-D
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_at_the_prompt_and_in_an_answer(talk):
    child = talk("--max-tokens", "2000", "--temperature", "0")
    child.send("half a line")
    child.expect("line")
    child.sendintr()
    child.expect("\n.*> ")
    child.sendline("Tell me a very long story about the sea.")
    child.expect("The |Once |In ")
    child.sendintr()
    child.expect(r"\[stopped\]")
    child.expect("> ")
    child.sendline("What is the capital of France?")
    child.expect("Paris")
    child.expect("\n.*> ")
    end(child)


def test_history_across_starts(talk):
    child = talk("--max-tokens", "1")
    child.sendline("first question")
    child.expect("\n.*\n.*> ")
    end(child)
    child = talk()
    child.send("\x1b[A")  # arrow up
    child.expect("first question")
    child.sendintr()
    child.expect("\n.*> ")
    end(child)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_beyond_ascii(talk, locale):
    child = talk("--max-tokens", "1", "--stats", LC_ALL=locale)
    child.sendline("naïve 日本語 🙂")
    child.expect("tokens, prompt")
    child.expect("> ")
    child.send("\x1b[A")
    child.expect("naïve 日本語 🙂")
    child.sendintr()
    child.expect("\n.*> ")
    end(child)
