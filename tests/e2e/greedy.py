"""The chaos of chaos.py with SmolLM2 on the cpu engine instead of the sim one.

What is right is what an undisturbed worker answered to the same prompt, alone, before anything was done. The cpu backend's numbers do
not depend on a token's neighbours in its batch, nor on whether it was decoded or is part of a resumed prompt
(tests/worker/engine/test_invariance.c), so every text must be equal, however close its two best tokens were."""
import os

from tokenizers import Tokenizer

from chaos import OTHER, World
from conftest import MODEL

BEGINNINGS = ["The history of the compass begins", "def fibonacci(n):", "Water boils at", "My favourite recipe is", "Dear Sir or Madam,",
              "The three laws of motion are", "In the year 1500, " * 20, "A list of European capitals: " * 10]


class GreedyWorld(World):
    def folders(self, folder):
        os.symlink(MODEL, os.path.join(folder, OTHER))
        return MODEL, os.path.join(folder, OTHER)

    def engine_args(self, folder, launch_us):
        return ["--threads", "1", "--kv-mib", "128", "--max-running", "16"]


class GreedyTexts:
    """Answers of a cluster at rest, asked for one by one."""

    def __init__(self, world, tokens):
        tokenizer, self.asked, self.known = Tokenizer.from_file(os.path.join(MODEL, "tokenizer.json")), [], {}
        for i, beginning in enumerate(BEGINNINGS):
            for end in ("", " and then"):
                ids = tokenizer.encode(beginning + end).ids
                count = tokens[0] + (tokens[1] - tokens[0]) * i // len(BEGINNINGS)
                choice = world.complete(ids, count, ignore_eos=True)["choices"][0]
                self.asked.append((ids, count))
                self.known[tuple(ids), count] = choice["text"]

    def draw(self, rng, _):
        return rng.choice(self.asked)

    def of(self, ids, count):
        return self.known[tuple(ids), count]
