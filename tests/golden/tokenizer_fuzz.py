"""Differential test of the tokenizer: our encode and decode beside the `tokenizers` package.

    python tests/golden/tokenizer_fuzz.py --pipe build/tests/tokenizer_pipe [--count N] [--seed S] DIR...

DIR holds a tokenizer.json, or a tokenizer.json.xz that is unpacked to a temporary folder. Every
string is made from (seed, index) alone, so a failure is shown by its index and can be run again.
For each string: ids without and with special tokens, and the decode of those ids and of random ids,
whole and streamed, with and without special tokens. Needs tokenizers==0.23.3.
"""
import argparse
import json
import lzma
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import tokenizers

import tokenizer_vectors

SCRIPTS = [  # first and last code point of blocks
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF),
    (0x7C0, 0x7FF), (0x800, 0x83F), (0x8A0, 0x8FF), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xA7F),
    (0xA80, 0xAFF), (0xB00, 0xB7F), (0xB80, 0xBFF), (0xC00, 0xC7F), (0xC80, 0xCFF), (0xD00, 0xD7F),
    (0xD80, 0xDFF), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1400, 0x167F), (0x1680, 0x16FF),
    (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1A00, 0x1AFF), (0x1B00, 0x1B7F), (0x1C80, 0x1CFF),
    (0x1D00, 0x1DFF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF),
    (0x20D0, 0x20FF), (0x2100, 0x214F), (0x2150, 0x218F), (0x2190, 0x23FF), (0x2400, 0x24FF),
    (0x2500, 0x27BF), (0x2800, 0x28FF), (0x2C00, 0x2DFF), (0x2E00, 0x2FFF), (0x3000, 0x303F),
    (0x3040, 0x309F), (0x30A0, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0x4E00, 0x5200), (0xA000, 0xA4CF), (0xA640, 0xA7FF), (0xA800, 0xABFF), (0xAC00, 0xD7A3),
    (0xD7B0, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE2F),
    (0xFE30, 0xFEFF), (0xFF00, 0xFFEF), (0xFFF0, 0xFFFD), (0x10000, 0x103FF), (0x10400, 0x105FF),
    (0x10600, 0x10FFF), (0x11000, 0x11FFF), (0x12000, 0x143FF), (0x14400, 0x16FFF),
    (0x17000, 0x1BFFF), (0x1CC00, 0x1D1FF), (0x1D200, 0x1DFFF), (0x1E000, 0x1EFFF),
    (0x1F000, 0x1F2FF), (0x1F300, 0x1F6FF), (0x1F700, 0x1FAFF), (0x1FB00, 0x1FBFF),
    (0x20000, 0x2A6DF), (0x2A700, 0x2EE5D), (0x30000, 0x323AF), (0xE0000, 0xE01EF),
    (0x10FF00, 0x10FFFF),
]
DIGITS = [0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xE50, 0x1810, 0x2070, 0x2080, 0x2150, 0x2160, 0x2460,
          0x3007, 0x3021, 0x3220, 0xA620, 0xFF10, 0x104A0, 0x10D40, 0x11DE0, 0x16FF4, 0x1D7CE, 0x1F100]
SPACES = ["\t", "\n", "\v", "\f", "\r", "\r\n", " ", " ", " ", "  ", "\x85", "\xa0", "\u1680", "\u180e",
          "\u2000", "\u2009", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff",
          "\x1c", "\x1f"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇫🇷🇯🇵", "❤️", "1️⃣", "👨🏿‍🚀", "🫠", "🪿", "☺︎", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
MARKS = "\u0301\u0316\u0308\u0327\u0345\u0334\u064b\u093c\u09be\u0bd7\u3099\u309a\u1ab0\u20dd\u05b0\u0e38\u07fd\u1df6"
WORDS = ("the of and to in is that it was for on are with as his they be at one have this from Hello I'm you're "
         "don't WE'LL they'Ve 'S 'ſ it'ſ naïve café Straße Köln résumé ǅ ŉ İstanbul 'll'd isn't function return "
         "int main() { } x=1; ==> !== /* */ // # <html> &amp; __init__ camelCase snake_case 3.14159 1,000,000 "
         "0xDEADBEEF 2024-01-02 https://example.org/a?b=c&d=%20 user@host <|im_start|> <|endoftext|> <| |> "
         "你好世界 今天天气很好 東京都 こんにちは カタカナ 안녕하세요 한국어 Привет мир Здравствуйте שלום مرحبا नमस्ते "
         "ไทย ქართული Ελλάδα Ångström ½ ² Ⅷ ① ٣ ３ ﬁ ﬅ ㎏").split()


def cp(rng):
    while True:
        kind = rng.random()
        if kind < 0.03:
            c = rng.randrange(0x110000)
        else:
            a, b = SCRIPTS[rng.randrange(len(SCRIPTS))]
            c = rng.randint(a, b)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def run_of(rng):
    unit = rng.choice([" ", "\n", "a", "ab", "=", "-", "\t", "0", "中", "é", "😀", "e\u0301", "\r\n", "한", "\u0301",
                       "<", "'", "\u3000", cp(rng), cp(rng) + cp(rng)])
    return unit * rng.choice([2, 3, 5, 9, 17, 40, 70, 130, 300])


def script_text(rng):
    a, b = SCRIPTS[rng.randrange(len(SCRIPTS))]
    chars = [chr(rng.randint(a, b)) for _ in range(rng.randint(1, 24))]
    return "".join(c if rng.random() > 0.12 else " " for c in chars if not 0xD800 <= ord(c) < 0xE000)


def digits(rng):
    base = rng.choice(DIGITS)
    return "".join(chr(base + rng.randrange(10)) for _ in range(rng.randint(1, 9)))


def jamo(rng):
    return "".join(chr(rng.choice([rng.randint(0x1100, 0x1112), rng.randint(0x1161, 0x1175),
                                   rng.randint(0x11A7, 0x11C2), rng.randint(0xAC00, 0xD7A3)]))
                   for _ in range(rng.randint(1, 8)))


def marks(rng):
    base = rng.choice(["a", "e", "o", "A", "\u0627", "\u0915", "\u304b", "\u1100", cp(rng), ""])
    return base + "".join(rng.choice(MARKS) if rng.random() < 0.7 else cp(rng)
                          for _ in range(rng.randint(1, 7)))


def special(rng, added):
    text = rng.choice(added)
    kind = rng.random()
    if kind < 0.2:
        text = text[:rng.randint(0, len(text))]
    elif kind < 0.3:
        text = text[rng.randint(0, len(text)):]
    elif kind < 0.4:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice([" ", "|", "<", "\u200b"]) + text[at:]
    return text


def piece(rng, added):
    kind = rng.randrange(13)
    if kind <= 2:
        return rng.choice(["", " "]) + rng.choice(WORDS)
    if kind == 3:
        return script_text(rng)
    if kind == 4:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 5)))
    if kind == 5:
        return rng.choice(EMOJI)
    if kind == 6:
        return marks(rng)
    if kind == 7:
        return jamo(rng)
    if kind == 8:
        return digits(rng)
    if kind == 9:
        return special(rng, added)
    if kind == 10:
        return "".join(chr(rng.randrange(0x20)) for _ in range(rng.randint(1, 4)))
    if kind == 11:
        return run_of(rng)
    return "".join(cp(rng) for _ in range(rng.randint(1, 6)))


def spoil(rng, data):
    """Makes valid UTF-8 invalid: cut, flip, insert."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        kind, at = rng.randrange(5), rng.randint(0, len(data))
        if kind == 0:
            del data[at:at + rng.randint(1, 2)]
        elif kind == 1:
            data[at:at] = bytes(rng.randrange(0x80, 0x100) for _ in range(rng.randint(1, 3)))
        elif kind == 2:
            data[at:at] = rng.choice([b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xff",
                                      b"\xf0\x9f\x98", b"\xe4\xb8", b"\xf5\x80\x80\x80", b"\xef\xbf\xbd"])
        elif kind == 3 and at < len(data):
            data[at] = rng.randrange(0x100)
        else:
            data = data[:at] if at else data
    return bytes(data)


def string(seed, index, added):
    rng = random.Random(seed * 1_000_003 + index)
    text = "".join(piece(rng, added) for _ in range(rng.choice([1, 2, 3, 4, 6, 10, 16])))
    data = text.encode()
    return spoil(rng, data) if rng.random() < 0.15 else data


def points(index):
    """Every code point once, 64 to a string, in two surroundings: for --all-points."""
    chars = [chr(c) for c in range(index * 64, index * 64 + 64) if not 0xD800 <= c < 0xE000]
    return ("x".join(chars) + " " + " 1".join(chars) + " " + "\u0301".join(chars)).encode()


class Replies:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, item_bytes):
        if self.at + 4 > len(self.data):
            raise SystemExit("the pipe's answer ends early")
        (n,) = struct.unpack_from("<I", self.data, self.at)
        start, self.at = self.at + 4, self.at + 4 + n * item_bytes
        return self.data[start:self.at]

    def ids(self):
        raw = self.take(4)
        return list(struct.unpack("<%dI" % (len(raw) // 4), raw))


def ask(pipe, folder, requests):
    result = subprocess.run([pipe, folder], input=b"".join(requests), stdout=subprocess.PIPE, check=True)
    return Replies(result.stdout)


def show(folder, seed, index, what, data, ours, theirs):
    print(f"MISMATCH {folder} seed {seed} index {index} {what}\n  text   {data!r}\n  ours   {ours}\n"
          f"  theirs {theirs}", flush=True)


def check_part(theirs, folder, pipe, seed, indexes, added, vocab):
    bad = 0
    strings = [points(i) if seed is None else string(seed, i, added) for i in indexes]
    seed = seed or 0
    decode_ids = []
    requests = []
    for i, data in zip(indexes, strings):
        requests += [op + struct.pack("<I", len(data)) + data for op in (b"e", b"E")]
        rng = random.Random(~(seed * 1_000_003 + i))
        ids = [rng.randrange(vocab + 5) if rng.random() < 0.5 else rng.randrange(256)
               for _ in range(rng.randint(0, 12))]
        decode_ids.append(ids)
        packed = struct.pack("<I%dI" % len(ids), len(ids), *ids)
        requests += [b"d" + packed, b"D" + packed]
    answers = ask(pipe, folder, requests)
    texts = [data.decode("utf-8", "replace") for data in strings]
    plain = theirs.encode_batch(texts, add_special_tokens=False)
    with_special = theirs.encode_batch(texts, add_special_tokens=True)
    back = []
    for i, data, a, b, ids in zip(indexes, strings, plain, with_special, decode_ids):
        for what, want in (("encode", a.ids), ("encode+special", b.ids)):
            got = answers.ids()
            if got != want:
                bad += 1
                show(folder, seed, i, what, data, got, want)
        for what, skip in (("decode", False), ("decode, skip special", True)):
            want = theirs.decode(ids, skip_special_tokens=skip)
            for how in ("", ", streamed"):
                got = answers.take(1).decode()
                if got != want:
                    bad += 1
                    show(folder, seed, i, what + how, ids, got, want)
        back.append(a.ids)
    requests = [b"d" + struct.pack("<I%dI" % len(ids), len(ids), *ids) for ids in back]
    answers = ask(pipe, folder, requests)
    for i, ids in zip(indexes, back):
        want = theirs.decode(ids, skip_special_tokens=False)
        for how in ("", ", streamed"):
            got = answers.take(1).decode()
            if got != want:
                bad += 1
                show(folder, seed, i, "decode of the ids" + how, ids, got, want)
    return bad


def unpacked(folder):
    """The folder itself, or a temporary one with tokenizer.json unpacked."""
    packed = os.path.join(folder, "tokenizer.json.xz")
    if os.path.exists(os.path.join(folder, "tokenizer.json")) or not os.path.exists(packed):
        return folder, False
    target = tempfile.mkdtemp(prefix="msgl-tokenizer-")
    with lzma.open(packed) as source, open(os.path.join(target, "tokenizer.json"), "wb") as out:
        shutil.copyfileobj(source, out)
    return target, True


def check(folder, pipe, seed, count, start=0, part=5000):
    """Mismatches among `count` strings."""
    folder, temporary = unpacked(folder)
    try:
        theirs = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        added = [t.content for t in theirs.get_added_tokens_decoder().values()] or ["<none>"]
        vocab, bad = theirs.get_vocab_size(), 0
        for at in range(start, start + count, part):
            indexes = range(at, min(at + part, start + count))
            bad += check_part(theirs, folder, pipe, seed, indexes, added, vocab)
            if bad > 20:
                break
        return bad
    finally:
        if temporary:
            shutil.rmtree(folder)


def check_parts(pipe, seed, count):
    """Random text through every small tokenizer of tokenizer_vectors.json."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer_vectors.json"),
              encoding="utf-8") as f:
        vectors = json.load(f)
    bad = 0
    for case in vectors["cases"]:
        with tempfile.TemporaryDirectory(prefix="msgl-tokenizer-") as folder:
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
                json.dump(tokenizer_vectors.assembled(vectors["base"], case), out)
            wrong = check(folder, pipe, seed, count)
        if wrong:
            print(f"in the case {case['name']!r}", flush=True)
        bad += wrong
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pipe", required=True)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all-points", action="store_true", help="every code point, not random text")
    parser.add_argument("--parts", action="store_true", help="the small tokenizers, not DIR")
    parser.add_argument("dirs", nargs="*", metavar="DIR")
    args = parser.parse_args()
    if args.all_points:
        args.seed, args.start, args.count = None, 0, 0x110000 // 64
    failed = 0
    if args.parts:
        failed = check_parts(args.pipe, args.seed, args.count)
        print(f"small tokenizers: {args.count} strings each, {failed} mismatches", flush=True)
    for folder in args.dirs:
        bad = check(folder, args.pipe, args.seed, args.count, args.start)
        print(f"{folder}: {args.count} strings, {bad} mismatches", flush=True)
        failed += bad
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
