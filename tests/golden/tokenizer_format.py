"""Differential test of the tokenizer.json format: random files beside the `tokenizers` package.

    python tests/golden/tokenizer_format.py --pipe build/tests/tokenizer_pipe [--count N] [--seed S]

Each file is made from (seed, index) alone: a small trained BPE of one of five kinds (bytes, pieces with
byte fallback, pieces without, characters with a word suffix, characters with a prefix) with random
parts around it, or whole pipelines as families of models have them. Each gets a few dozen strings:
ids with and without special tokens, decodes whole and streamed, of those ids and of random ones.
A file that we refuse is counted under our sentence. Needs tokenizers==0.23.3.
"""
import argparse
import collections
import functools
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import tokenizer_fuzz as fuzz
import tokenizer_vectors as vectors

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
HAN = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+|"
       r"\p{N}{1,3}|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
PUNCTUATED = r" ?[^(\s|[.,!?…。，、।۔،])]+"
WORDS = r"<\|one\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
REGEXES = [CL100K, HAN, PUNCTUATED, WORDS, vectors.GPT4O, *vectors.THREE, r"\w+|[^\w\s]+", r"\b", r"\d", r"\s+",
           r"[[:alpha:]]+|[[:punct:]]", r"\p{L}\p{M}*", r"[^[aeiou]\s]+", r"[a-z&&[^aeiou]]+", r"\p{Hiragana}+|\p{Latin}+",
           r"[\W\d]+", r"\h+", r"(?i)the|of", r"[\-+*/]|[a\-z]", r"[^\p{^L}]+", r"\u4f60|\x{597d}", r"^\s|\s$|.{2}", r"{|}|x{2,}",
           r"[0-9][0-9][0-9]", r"\p{Upper}\p{Lower}*|\p{Alnum}", r"(?m:.+)", r"[▁\s]", r"[^\S\n]+"]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


# ---- models

def corpus(rng, mark):
    lines = [" ".join(rng.choices(vectors.CORPUS + fuzz.WORDS, k=12)) for _ in range(300)]
    return [mark(line) for line in lines]


def train(lines, pre, **options):
    tokenizer = Tokenizer(models.BPE(**{k: v for k, v in options.items() if k != "trainer"}))
    tokenizer.pre_tokenizer = pre
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(show_progress=False, **options["trainer"]))
    return json.loads(tokenizer.to_str())["model"]


@functools.lru_cache(maxsize=None)
def model(kind):
    """A trained model, as in the file. The caller copies what it changes."""
    rng = random.Random(kind)
    if kind == "bytes":
        return train(corpus(rng, str), pre_tokenizers.ByteLevel(add_prefix_space=False), trainer=dict(
            vocab_size=520, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    if kind in ("suffix", "prefix"):
        affix = {"suffix": {"end_of_word_suffix": "</w>"}, "prefix": {"continuing_subword_prefix": "##"}}[kind]
        return train(corpus(rng, str), pre_tokenizers.BertPreTokenizer(),
                     trainer=dict(vocab_size=600, special_tokens=["<unk>"], **affix), unk_token="<unk>", **affix)
    split = pre_tokenizers.Split("▁", "merged_with_next")
    out = train(corpus(rng, lambda line: "▁" + line.replace(" ", "▁")), split, trainer=dict(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>"] + (
            ["<0x%02X>" % i for i in range(256)] if kind == "fallback" else [])))
    out.update(unk_token="<unk>", fuse_unk=True, byte_fallback=kind == "fallback")
    if kind == "fallback":  # runs of the mark, as such vocabularies have them
        run, vocab = "▁▁", out["vocab"]
        for left in ("▁", "▁▁"):
            vocab.setdefault(left + left, len(vocab))
            out["merges"].append([left, left])
        vocab.setdefault(run + "▁", len(vocab))
        out["merges"].append([run, "▁"])
    return out


def random_model(rng):
    kind = rng.choice(["bytes", "bytes", "fallback", "fallback", "pieces", "suffix", "prefix"])
    out = dict(model(kind))
    for name, odds in (("fuse_unk", 0.3), ("ignore_merges", 0.1), ("byte_fallback", 0.05)):
        if rng.random() < odds:
            out[name] = not out[name]
    if rng.random() < 0.1:
        out["unk_token"] = rng.choice([None, "<unk>" if "<unk>" in out["vocab"] else "a"])
    if rng.random() < 0.1:
        out["merges"] = out["merges"][:rng.randrange(len(out["merges"]))]
    if rng.random() < 0.1 and kind == "fallback":  # some bytes are not there
        gone = {"<0x%02X>" % rng.randrange(256) for _ in range(20)}
        out["vocab"] = {k: i for i, k in enumerate(k for k in out["vocab"] if k not in gone)}
    return kind, out


# ---- parts

def pick_pattern(rng):
    if rng.random() < 0.7:
        return {"Regex": rng.choice(REGEXES)}
    return {"String": rng.choice([" ", "▁", "a", ",", "the", "  ", ".", "\n"])}


def random_normalizer(rng, depth=0):
    kind = rng.randrange(15 if depth else 18)
    if kind < 4:
        return {"type": ["NFC", "NFD", "NFKC", "NFKD"][kind]}
    if kind < 6:
        return {"type": "Prepend", "prepend": rng.choice(["▁", "▁", "  ", "é", "xy"])}
    if kind < 9:
        return {"type": "Replace", "pattern": rng.choice([{"String": " "}, {"String": " "}, pick_pattern(rng)]),
                "content": rng.choice(["▁", "▁", " ", "", "xyz"])}
    if kind < 12:
        return {"type": ["Lowercase", "StripAccents", "Nmt"][kind - 9]}
    if kind == 12:
        return {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5}
    if kind == 13:
        return {"type": "BertNormalizer", "clean_text": rng.random() < 0.7, "handle_chinese_chars": rng.random() < 0.7,
                "strip_accents": rng.choice([None, True, False]), "lowercase": rng.random() < 0.5}
    if kind == 14:
        return {"type": "ByteLevel"}
    return {"type": "Sequence", "normalizers": [random_normalizer(rng, 1) for _ in range(rng.randint(0, 4))]}


def random_metaspace(rng):
    return {"type": "Metaspace", "replacement": rng.choice(["▁", "▁", "▁", "_"]),
            "prepend_scheme": rng.choice(["always", "first", "first", "never"]), "split": rng.random() < 0.6}


def random_pretokenizer(rng, depth=0):
    kind = rng.randrange(12 if depth else 15)
    if kind < 3:
        return {"type": "Split", "pattern": pick_pattern(rng), "behavior": rng.choice(BEHAVIORS),
                "invert": rng.random() < 0.3}
    if kind < 5:
        return random_metaspace(rng)
    if kind < 7:
        return vectors.byte_level(rng.random() < 0.5, rng.random() < 0.5)
    if kind == 7:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    if kind == 8:
        return {"type": "Punctuation", "behavior": rng.choice(BEHAVIORS)}
    if kind < 11:
        return {"type": ["Whitespace", "WhitespaceSplit"][kind - 9]}
    if kind == 11:
        return rng.choice([{"type": "BertPreTokenizer"}, {"type": "FixedLength", "length": rng.randint(1, 7)}])
    return {"type": "Sequence", "pretokenizers": [random_pretokenizer(rng, 1) for _ in range(rng.randint(0, 4))]}


def random_decoder(rng, depth=0):
    kind = rng.randrange(9 if depth else 13)
    if kind == 0:
        return {"type": "Replace", "pattern": rng.choice([{"String": "▁"}, pick_pattern(rng)]),
                "content": rng.choice([" ", "", "ab"])}
    if kind < 4:
        return {"type": ["ByteFallback", "Fuse", "ByteFallback"][kind - 1]}
    if kind == 4:
        return {"type": "Strip", "content": rng.choice([" ", "a", "▁"]), "start": rng.randint(0, 2),
                "stop": rng.choice([0, 0, 1, 2])}
    if kind == 5:
        return random_metaspace(rng)
    if kind == 6:
        return {"type": "BPEDecoder", "suffix": rng.choice(["</w>", "e"])}
    if kind == 7:
        return {"type": "WordPiece", "prefix": "##", "cleanup": rng.random() < 0.5}
    if kind == 8:
        return vectors.byte_level()
    return {"type": "Sequence", "decoders": [random_decoder(rng, 1) for _ in range(rng.randint(0, 4))]}


def random_added(rng, vocab):
    texts = rng.sample(["<one>", "<two>", "<one><two>", "</s>", "<s>", "<unk>", "word", "the", " x", "\n\n", "É", "ab c",
                        "<|im_start|>", "▁▁", "Hello", "#", "ﬁ", "好"], rng.randint(0, 6))
    return vectors.added(vocab, *[(t, "".join(f for f in "snlrw" if rng.random() < 0.25)) for t in texts])


def random_post(rng, vocab, rows):
    ids = {**vocab, **{row["content"]: row["id"] for row in rows}}
    names = rng.sample(sorted(ids), min(3, len(ids)))
    kind = rng.randrange(6)
    if kind == 0:
        return vectors.byte_level()
    if kind == 1:
        return {"type": "RobertaProcessing", "sep": [names[0], ids[names[0]]], "cls": [names[-1], ids[names[-1]]],
                "trim_offsets": True, "add_prefix_space": False}
    if kind == 2:
        return {"type": "BertProcessing", "sep": [names[0], ids[names[0]]], "cls": [names[-1], ids[names[-1]]]}
    if kind == 3:
        return vectors.template(names[:rng.randint(0, 2)], names[2:], ids)
    if kind == 4:
        return {"type": "Sequence", "processors": [vectors.byte_level(), vectors.template(names[:1], [], ids)]}
    return None


def random_file(rng):
    kind, built = random_model(rng)
    rows = random_added(rng, built["vocab"])
    byte_level = kind == "bytes" and rng.random() < 0.7
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": rows, "model": built,
        "normalizer": rng.choice([None, random_normalizer(rng)]),
        "pre_tokenizer": (vectors.sequence(random_pretokenizer(rng, 1), vectors.byte_level(rng.random() < 0.5)) if byte_level
                          else rng.choice([None, random_pretokenizer(rng)])),
        "decoder": vectors.byte_level() if byte_level else rng.choice([None, random_decoder(rng), random_decoder(rng)]),
        "post_processor": random_post(rng, built["vocab"], rows)}


# ---- whole pipelines, as families of models have them

def pieces_decoder(*extra):
    return {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, *extra]}


STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
LLAMA2 = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, SPACE]}


def family(rng, name):
    byte, piece = model("bytes"), model("fallback")
    base = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None}
    specials = [("<s>", "s"), ("</s>", "s"), ("<|end|>", "sr"), ("<|user|>", "s"), ("<unk>", "s")]
    byte_rows = vectors.added(byte["vocab"], *specials)
    piece_rows = vectors.added(piece["vocab"], *[(t, f + ("n" if rng.random() < 0.3 else "")) for t, f in specials])
    ids = {row["content"]: row["id"] for row in byte_rows}
    piece_ids = {**piece["vocab"], **{row["content"]: row["id"] for row in piece_rows}}
    of_bytes = {**base, "model": byte, "added_tokens": byte_rows, "decoder": vectors.byte_level()}
    of_pieces = {**base, "model": piece, "added_tokens": piece_rows, "pre_tokenizer": None,
                 "post_processor": vectors.template(["<s>"], [], piece_ids)}
    clip = model("suffix")
    return {
        "llama2": lambda: {**of_pieces, "normalizer": LLAMA2, "decoder": pieces_decoder(STRIP)},
        "mistral": lambda: {**of_pieces, "decoder": pieces_decoder(STRIP),
                            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}},
        "gemma": lambda: {**of_pieces, "normalizer": SPACE, "decoder": pieces_decoder(), "pre_tokenizer": {
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}},
        "yi": lambda: {**of_pieces, "normalizer": {"type": "Sequence", "normalizers": [SPACE]}, "decoder": pieces_decoder()},
        "metaspace": lambda: {**of_pieces, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]},
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}},
        "gpt2": lambda: {**of_bytes, "pre_tokenizer": vectors.byte_level(True), "post_processor": vectors.byte_level()},
        "roberta": lambda: {**of_bytes, "pre_tokenizer": vectors.byte_level(True, True), "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]], "trim_offsets": True,
            "add_prefix_space": True}},
        "llama3": lambda: {**of_bytes, "pre_tokenizer": vectors.sequence(vectors.split(CL100K), vectors.byte_level()),
                           "model": {**byte, "ignore_merges": True}, "post_processor": {"type": "Sequence", "processors": [
                               vectors.byte_level(), vectors.template(["<s>"], [], ids)]}},
        "deepseek": lambda: {**of_bytes, "normalizer": {"type": "Sequence", "normalizers": []},
                             "pre_tokenizer": vectors.sequence(*map(vectors.split, vectors.THREE), vectors.byte_level())},
        "falcon": lambda: {**of_bytes, "pre_tokenizer": vectors.sequence(
            {"type": "Punctuation", "behavior": "Contiguous"}, vectors.byte_level(True),
            {"type": "Digits", "individual_digits": False}, vectors.split("[0-9][0-9][0-9]"))},
        "starcoder": lambda: {**of_bytes, "pre_tokenizer": vectors.sequence(
            {"type": "Digits", "individual_digits": True}, vectors.byte_level(True))},
        "tekken": lambda: {**of_bytes, "pre_tokenizer": vectors.sequence(vectors.split(TEKKEN), vectors.byte_level()),
                           "model": {**byte, "ignore_merges": True}, "post_processor": vectors.template(["<s>"], [], ids)},
        "granite": lambda: {**of_bytes, "normalizer": {"type": "NFKC"}, "pre_tokenizer": vectors.sequence(
            vectors.split(r"\p{N}"), vectors.byte_level(True, True)), "post_processor": {
            "type": "BertProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]]}},
        "pieces_nfkc": lambda: {**of_pieces, "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": rng.choice(["first", "always", "never"]),
                              "split": rng.random() < 0.5},
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁",
                        "prepend_scheme": "always", "split": True}]}},
        "bloom": lambda: {**of_bytes, "pre_tokenizer": vectors.sequence(vectors.split(PUNCTUATED), vectors.byte_level())},
        "kimi": lambda: {**of_bytes, "pre_tokenizer": vectors.sequence(vectors.split(HAN), vectors.byte_level())},
        "clip": lambda: {**base, "model": {**clip, "unk_token": "<unk>"}, "added_tokens": vectors.added(clip["vocab"], ("<unk>", "s")),
                         "normalizer": {"type": "Sequence", "normalizers": [
                             {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
                             {"type": "Lowercase"}]},
                         "pre_tokenizer": vectors.sequence(vectors.split(WORDS, "Removed", True), vectors.byte_level()),
                         "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        "gpt1": lambda: {**base, "model": clip, "added_tokens": [], "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "BPEDecoder", "suffix": "</w>"}},
    }[name]()


FAMILIES = ("llama2 mistral gemma yi metaspace gpt2 roberta llama3 deepseek falcon bloom kimi clip gpt1 starcoder tekken granite pieces_nfkc").split()


# ---- the comparison

def guarded(call):
    """The package's answer, or None where it raises or panics."""
    try:
        return call()
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return None


def text_for(seed, index, k, added):
    rng = random.Random(f"{seed}/{index}/{k}/text")
    data = fuzz.string(rng.randrange(1 << 30), k, added)
    return data.decode("utf-8", "replace")


def decodes(rng, vocab, ids):
    yield ids
    for _ in range(2):
        yield [rng.choice([rng.randrange(vocab + 3), 3 + rng.randrange(256)]) for _ in range(rng.randint(0, 12))]


def check_file(pipe, seed, index, strings, counts):
    rng = random.Random(f"{seed}/{index}")
    name = FAMILIES[index // 4 % len(FAMILIES)] if index % 4 == 0 else "random"
    file = family(rng, name) if name != "random" else random_file(rng)
    theirs = guarded(lambda: Tokenizer.from_str(json.dumps(file)))
    if theirs is None:
        counts["the package refuses"] += 1
        return 0
    added = [row["content"] for row in file["added_tokens"]] or ["<none>"]
    texts = [text_for(seed, index, k, added) for k in range(strings)]
    requests, wanted = [], []
    for text in texts:
        data = text.encode()
        plain = guarded(lambda: theirs.encode(text, add_special_tokens=False).ids)
        special = guarded(lambda: theirs.encode(text, add_special_tokens=True).ids)
        for op, ids in ((b"e", plain), (b"E", special)):
            requests.append(op + struct.pack("<I", len(data)) + data)
            wanted.append(("encode " + op.decode(), text, ids))
        for ids in decodes(rng, theirs.get_vocab_size(), special or []):
            for op, skip in ((b"d", False), (b"D", True)):
                requests.append(op + struct.pack("<I%dI" % len(ids), len(ids), *ids))
                wanted.append(("decode " + op.decode(), ids, guarded(lambda: theirs.decode(ids, skip_special_tokens=skip))))
    with tempfile.TemporaryDirectory(prefix="msgl-tokenizer-") as folder:
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as out:
            json.dump(file, out)
        done = subprocess.run([pipe, folder], input=b"".join(requests), capture_output=True, timeout=120)
    if done.returncode != 0:
        counts["refused: " + done.stderr.decode().split("tokenizer.json: ")[-1].strip()[:110]] += 1
        if done.returncode < 0 or name != "random":
            print(f"FAILED {name} {index}: {done.returncode} {done.stderr.decode()[-500:]}")
            return 1
        return 0
    answers, bad = fuzz.Replies(done.stdout), 0
    for what, given, want in wanted:
        got = [answers.ids()] if what.startswith("encode") else [answers.take(1).decode(), answers.take(1).decode()]
        if want is None:
            counts["the package raises"] += 1
            continue
        counts[what[:6]] += 1
        if any(g != want for g in got):
            bad += 1
            if bad <= 2:
                shown = {k: v for k, v in file.items() if k not in ("version", "truncation", "padding", "model")}
                shown["model"] = {k: v for k, v in file["model"].items() if k not in ("vocab", "merges")}
                print(f"MISMATCH seed {seed} index {index} ({name}) {what}\n  given  {given!r}\n  ours   {got}\n  theirs {want!r}\n"
                      f"  file   {json.dumps(shown, ensure_ascii=False)}", flush=True)
    counts["files"] += 1
    return bad


def check(pipe, seed, indexes, strings=24):
    """(mismatches, counts)"""
    counts, bad = collections.Counter(), 0
    for index in indexes:
        bad += check_file(pipe, seed, index, strings, counts)
        if bad > 20:
            break
    return bad, counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pipe", required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--strings", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bad, counts = check(args.pipe, args.seed, range(args.start, args.start + args.count), args.strings)
    for what, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:8d}  {what}")
    print(f"tokenizer files: {counts['files']} compared, {counts['encode'] + counts['decode']} answers, {bad} mismatches")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
