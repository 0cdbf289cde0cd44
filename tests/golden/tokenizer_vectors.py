"""Small tokenizers for every supported part, and what the `tokenizers` package makes of some texts.

    python tests/golden/tokenizer_vectors.py > tests/golden/tokenizer_vectors.json

The file holds one base (a 256-byte alphabet and a few hundred merges) and a list of cases; a case's
"parts" replace members of the base, "model" members of its model. tests/router/text/test_tokenizer.c reads
it, and tokenizer_fuzz.py --parts runs random text through every case. Needs tokenizers==0.23.3.
"""
import json
import random
import sys
import unicodedata

import tokenizers

GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
THREE = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
         "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
         " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
CORPUS = ("the of and to in is that it was for on are with as his they be at one have this from hello world "
          "token tokens tokenizer byte bytes merge merges don't we're I'll 2024 1000 naïve café 你好世界 今天天气 "
          "Привет мир العربية  \n\t  == != () {} return int main").split(" ")
TEXTS = ["", "Hello, world!", "the tokens of the tokenizer", "  the\n\n merges\t", "we're 2024 don't 12345 x7",
         "café cafe\u0301 \u212b \u1112\u1161\u11ab \ufb01", "你好世界, Привет! مرحبا", "a b  c   d", "AbcDefGHI, x,,y",
         "<one> <one><two><three> <t", "  <left>  <right>  <both>  x", "word wordy theword word.",
         "\U0001f469\u200d\U0001f469 \U00013441 \u180e\u2003", "e\u0316\u0301 \u0345\u0301 \u0915\u093c caf\u00e9",
         "the world" * 12, "\x00\x01\x7f\x80", "Straße ÉCOLE 'S 'ſ it'LL"]
RAW_TEXTS = [b"\xff\xfeab", b"the \xe4\xbd", b"\xed\xa0\x80x", b"\xf0\x9f\x98\x80\xf0\x9f\x98", b"a\xc0\x80b"]


def byte_level(regex=False, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def added(vocab, *tokens):
    """added_tokens rows; flags: Special, Normalized, Lstrip, Rstrip, single Word."""
    rows, free = [], len(vocab)
    for text, flags in tokens:
        rows.append({"id": vocab.get(text, free), "content": text, "single_word": "w" in flags, "lstrip": "l" in flags,
                     "rstrip": "r" in flags, "normalized": "n" in flags, "special": "s" in flags})
        free += text not in vocab
    return rows


def template(before, behind, ids):
    pieces = [{"SpecialToken": {"id": t, "type_id": 0}} for t in before]
    pieces += [{"Sequence": {"id": "A", "type_id": 0}}]
    pieces += [{"SpecialToken": {"id": t, "type_id": 0}} for t in behind]
    return {"type": "TemplateProcessing", "single": pieces, "pair": pieces + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in (*before, *behind)}}


def trained():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=480, show_progress=False, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    rng = random.Random(1)
    tokenizer.train_from_iterator([" ".join(rng.choices(CORPUS, k=12)) for _ in range(400)], trainer)
    base = json.loads(tokenizer.to_str())
    base.update(added_tokens=[], normalizer=None, post_processor=None, truncation=None, padding=None,
                decoder=byte_level(), pre_tokenizer=byte_level(regex=True))
    return base


def cases(base):
    vocab = base["model"]["vocab"]
    size = len(vocab)
    out = []

    def case(name, model=None, **parts):
        out.append({"name": name, "parts": parts, "model": model or {}})

    case("byte level")
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            case(f"split {behavior} {invert}",
                 pre_tokenizer=sequence(split(r"[\s,]+|\d", behavior, invert), byte_level()))
            case(f"empty matches {behavior} {invert}",
                 pre_tokenizer=sequence(split(r"(?=[A-Z])|(?<=e)|,", behavior, invert), byte_level()))
        case(f"literal {behavior}", pre_tokenizer=sequence(split(" ", behavior, kind="String"), byte_level()))
    for individual in (False, True):
        case(f"digits {individual}", pre_tokenizer=sequence({"type": "Digits", "individual_digits": individual},
                                                            byte_level(regex=True)))
    for regex in (False, True):
        case(f"prefix space {regex}", pre_tokenizer=byte_level(regex, prefix=True))
        case(f"digits, prefix space {regex}",
             pre_tokenizer=sequence({"type": "Digits", "individual_digits": True}, byte_level(regex, prefix=True)))
    case("gpt-4o regex", pre_tokenizer=sequence(split(GPT4O), byte_level()))
    case("three splits", pre_tokenizer=sequence(*map(split, THREE), byte_level()))
    case("possessive, lazy, anchors",
         pre_tokenizer=sequence(split(r"\p{L}++|^\s|\s$|(?>\d+)|\S+?(?=\s)|.{2,}"), byte_level()))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        case(form, normalizer={"type": form},
             added_tokens=added(vocab, (unicodedata.normalize(form, "caf\u00e9"), "n"), ("\u212b", ""),
                                (unicodedata.normalize(form, "\ufb01"), "n")))
    case("normalizer sequence", normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]})
    case("added", added_tokens=added(vocab, ("<one>", "s"), ("<one><two>", "s"), ("<two>", ""), ("<three>", "n"),
                                     ("wo", ""), ("word", "")))
    case("added, strip", normalizer={"type": "NFC"},
         added_tokens=added(vocab, ("<left>", "sl"), ("<right>", "sr"), ("<both>", "lr"), ("  x", "n"), ("\n", "rn"),
                            ("<one>", "lrn"), ("<two>", "s")))
    case("added, single word", added_tokens=added(vocab, ("word", "w"), ("the", "wn"), ("café", "wlr"), ("x", "w")))
    case("added, in the vocabulary", added_tokens=added(vocab, ("the", "s"), ("new", ""), ("at", "n")))
    ids = {"<one>": size, "<two>": size + 1}
    both = added(vocab, ("<one>", "s"), ("<two>", "s"))
    case("template", added_tokens=both, post_processor=template(["<one>"], ["<two>", "<two>"], ids))
    case("template in a sequence", added_tokens=both, post_processor={"type": "Sequence", "processors": [
        byte_level(), template(["<two>", "<one>"], [], ids)]})
    case("decoder sequence", decoder={"type": "Sequence", "decoders": [byte_level()]})
    case("ignore merges", model={"ignore_merges": True, "merges": base["model"]["merges"][:30]})
    case("merges as text", model={"merges": [m if isinstance(m, str) else " ".join(m) for m in base["model"]["merges"]]})
    gone = set("zqÃ")
    keep = [m for m in base["model"]["merges"] if not gone & set("".join(m))]
    alphabet = {k: i for i, k in enumerate(k for k in base["model"]["vocab"] if not gone & set(k))}
    case("missing bytes", model={"vocab": alphabet, "merges": keep})
    case("unknown token", model={"vocab": alphabet, "merges": keep, "unk_token": "?"})
    case("unknown token, fused", model={"vocab": alphabet, "merges": keep, "unk_token": "?", "fuse_unk": True})
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "\u0120"}
    fallback = {f"<0x{i:02X}>": size + i for i in range(256)}
    model = {"vocab": {**vocab, **fallback}, "byte_fallback": True, "fuse_unk": True, "unk_token": "?"}
    pieces = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u0120"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    case("pieces, prepend", model=model, pre_tokenizer=None, decoder=pieces, normalizer={
        "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u0120"}, space]},
        added_tokens=added(model["vocab"], ("<one>", "sn"), ("<two>", "n"), ("<three>", "r")))
    meta = {"type": "Metaspace", "replacement": "\u0120", "prepend_scheme": "first", "split": False}
    case("pieces, metaspace", model=model, pre_tokenizer=meta, decoder={**meta, "split": True},
         added_tokens=added(model["vocab"], ("<one>", "s"), ("<two>", "l")))
    case("pieces, split", model=model, normalizer=space, pre_tokenizer=split("\u0120", "MergedWithNext", kind="String"),
         decoder={"type": "Sequence", "decoders": pieces["decoders"][:3]})
    case("characters, lowercase", normalizer={"type": "Sequence", "normalizers": [
        {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True,
                                                                            "strip_right": True}, {"type": "Nmt"}]},
         pre_tokenizer=sequence({"type": "Whitespace"}, {"type": "FixedLength", "length": 4}), decoder=None)
    case("characters, suffix", model={"end_of_word_suffix": "s", "unk_token": "?"}, pre_tokenizer={"type": "BertPreTokenizer"},
         normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                     "lowercase": True}, decoder={"type": "BPEDecoder", "suffix": "e"})
    case("characters, wordpiece", pre_tokenizer=sequence({"type": "Punctuation", "behavior": "Contiguous"},
                                                         {"type": "WhitespaceSplit"}),
         decoder={"type": "WordPiece", "prefix": "t", "cleanup": True})
    case("bytes, not last", pre_tokenizer=sequence(byte_level(), split(r"\p{L}&&[^\u0120]|[[:punct:]]+")),
         post_processor={"type": "RobertaProcessing", "cls": ["a", vocab["a"]], "sep": ["b", vocab["b"]],
                         "trim_offsets": True, "add_prefix_space": False})
    case("bytes, normalizer", normalizer={"type": "Sequence", "normalizers": [{"type": "ByteLevel"}]},
         pre_tokenizer=split(r"[a-z&&[^aeiou]]+|\b"), decoder={"type": "Sequence", "decoders": [
             byte_level(), {"type": "Replace", "pattern": {"String": "the"}, "content": "THE"},
             {"type": "Strip", "content": "d", "start": 1, "stop": 0}]})
    return out


def assembled(base, case):
    """The tokenizer.json of a case."""
    return {**base, **case["parts"], "model": {**base["model"], **case["model"]}}


def main():
    base = trained()
    rows = cases(base)
    texts = [t.encode() for t in TEXTS] + RAW_TEXTS
    for row in rows:
        theirs = tokenizers.Tokenizer.from_str(json.dumps(assembled(base, row)))
        row["vectors"] = []
        for data in texts:
            text = data.decode("utf-8", "replace")
            plain = theirs.encode(text, add_special_tokens=False).ids
            special = theirs.encode(text, add_special_tokens=True).ids
            row["vectors"].append([data.hex(), plain, special, theirs.decode(special, skip_special_tokens=True),
                                   theirs.decode(special, skip_special_tokens=False)])
    out = sys.stdout.write
    out('{"made_with": "tokenizers==%s",\n"base": %s,\n"cases": [\n' % (tokenizers.__version__, json.dumps(base)))
    for i, row in enumerate(rows):
        vectors = row.pop("vectors")
        out(json.dumps(row)[:-1] + ', "vectors": [\n')
        out(",\n".join(json.dumps(v) for v in vectors))
        out("]}%s\n" % ("," if i + 1 < len(rows) else ""))
    out("]}\n")


if __name__ == "__main__":
    main()
