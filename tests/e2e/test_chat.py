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


def test_history_outlives_a_closed_window(talk):
    child = talk("--max-tokens", "1")
    child.sendline("asked before the end")
    child.expect("\n.*\n.*> ")
    child.close(force=True)  # SIGHUP, and worse
    child = talk()
    child.send("\x1b[A")
    child.expect("asked before the end")
    child.sendintr()
    child.expect("\n.*> ")
    end(child)


def test_a_line_is_edited(talk):
    """Start and end of the line, a word taken back, letters rubbed out: what is sent is what is seen."""
    child = talk("--max-tokens", "1")
    child.send("stats wrong")
    child.send("\x17\x7f")  # the word and the space before the cursor go
    child.send("\x01/\x05")  # a slash at the start
    child.send("x\x7f\r")
    child.expect("Times are shown after each answer")
    child.expect("> ")
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


def test_system_and_reset(talk):
    child = talk("--max-tokens", "24", "--temperature", "0", NO_COLOR="1")
    child.sendline("/system Answer every question with the single word banana.")
    child.expect("with this system message")
    child.expect("> ")
    child.sendline("/system")
    child.expect("without a system message")
    child.expect("> ")
    child.sendline("My name is Zebulon. Say hello.")
    child.expect("\n.*\n.*> ")
    child.sendline("/reset")
    child.expect("A new conversation")
    child.expect("> ")
    child.sendline("/what")
    child.expect("/system TEXT")
    child.expect("> ")
    child.sendline("/exit")
    child.expect(pexpect.EOF)


def test_stats_tell_times_and_cached_tokens(talk):
    child = talk("--max-tokens", "12", "--temperature", "0", NO_COLOR="1")
    child.sendline("What is the capital of France?")
    child.expect("Paris")
    child.expect("> ")
    child.sendline("/stats")
    child.expect(r"\[first token after \d+ ms, then [\d.]+ tokens/s; \d+ tokens, prompt \d+ \(\d+ cached\)\]")
    child.expect("> ")
    child.sendline("And of Italy?")
    child.expect(r"prompt \d+ \((\d+) cached\)\]")
    assert int(child.match.group(1)) >= 16, "the conversation so far is cached"
    child.expect("> ")
    end(child)


def test_a_paste_of_lines_is_one_question(talk):
    child = talk("--max-tokens", "3", "--stats", NO_COLOR="1")
    child.send("\x1b[200~first line\nsecond line\nthird line\x1b[201~")
    child.expect("third line")
    child.expect(pexpect.TIMEOUT, timeout=1)  # nothing was sent yet
    child.send("\r")
    child.expect(r"prompt (\d+)")
    assert int(child.match.group(1)) > 30, "all three lines are one question"
    child.expect("> ")
    child.send("\x1b[A")
    child.expect("first line")
    child.sendintr()
    child.expect("\n.*> ")
    end(child)


def test_colours_only_on_a_terminal(talk, serve):  # noqa: F811
    import subprocess
    child = talk("--max-tokens", "3", "--stats")
    child.sendline("Hi")
    child.expect(r"\x1b\[2m\[first token")
    end(child)
    server = serve("--kv-mib", "256")
    done = subprocess.run([MSGL, "chat", "--url", server.url, "--max-tokens", "3", "--stats"], input="Hi\n", capture_output=True,
                          text=True, timeout=60 * SLOW, env={**os.environ, "TERM": "xterm"})
    assert "[first token" in done.stdout and "\x1b" not in done.stdout
