"""Makes the golden files of the tokenizer's tests; see README.md.

    python generate.py MODEL_DIR DATA_DIR

MODEL_DIR: the files of all-MiniLM-L6-v2. DATA_DIR: holds candidates.jsonl of TREC DL 2019.
"""

import argparse
import hashlib
import json
import os
import random
import shutil

if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL_DIR")
    parser.add_argument("data", metavar="DATA_DIR")
    options = parser.parse_args()

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from texts import PAIRS, TEXTS  # noqa: E402
from tokenizers import Tokenizer, normalizers  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MODEL_NAME = "all-MiniLM-L6-v2"


def small_vocabulary():
    words = ("the quick brown fox jump run play read un able token rank query pass ##ing ##ed ##er ##s "
             "##able ##ization ##ank Hello hello World world HELLO cafe café naive naïve").split()
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    others = ("éèüñçåøßæœðþıİſﬁ" "αβγδεζηθικλμνξοπρσςτυφχψωΑΒΓΣΩ" "абвгдежзийклмноабАБВЖЙё"
              "中文字語漢日本" "ᄀᄁᄂ하한글" "ᅡᅥᅵ" "ᆨᆫᆯ" "กขาิเ" "कखनिा्" "אבגשﬡ" "ابتلس" "ａｂＡ" "𝐀𝐚𝔸𐐀𐐨ꭰᏸ")
    marks = "\u0301\u0300\u0307\u0308\u0327\u0345\u05b0\u0651\u302e\u302f\u3099\U0001d165\U0001d16d"
    vocabulary = SPECIALS + words + list(letters) + ["##" + c for c in letters]
    vocabulary += list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" "。、！？«»“”„…—–·¿¡٪־।")
    for c in others + marks:
        vocabulary += [c, "##" + c]
    vocabulary += ["i\u0307", "##e\u0301", "中文", "##\u302e\u302f", "\u2028x", "[", "##"]
    return list(dict.fromkeys(vocabulary))


VOCABULARY = {token: index for index, token in enumerate(small_vocabulary())}


def bert_normalizer(**changes):
    return {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": True, **changes}


def added_token(content, token_id=0, **changes):
    return {"id": VOCABULARY.get(content, token_id), "content": content, "single_word": False,
            "lstrip": False, "rstrip": False, "normalized": False, "special": True, **changes}


def template(single, pair, specials):
    def pieces(text):
        for piece in text.split():
            name, type_id = piece.rsplit(":", 1)
            kind = "Sequence" if name in ("$A", "$B") else "SpecialToken"
            yield {kind: {"id": name.lstrip("$"), "type_id": int(type_id)}}
    return {"type": "TemplateProcessing", "single": list(pieces(single)), "pair": list(pieces(pair)),
            "special_tokens": {name: {"id": name, "ids": ids, "tokens": [name] * len(ids)}
                               for name, ids in specials.items()}}


BERT_TEMPLATE = template("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                         {name: [VOCABULARY[name]] for name in ("[CLS]", "[SEP]")})


def tokenizer_json(normalizer=None, added=None, processor=BERT_TEMPLATE, **model):
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added_token(name) for name in SPECIALS] if added is None else added,
            "normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": processor, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": VOCABULARY, **model}}


ADDED = [added_token(name) for name in SPECIALS] + [
    added_token("[SEPARATE]", 9000),
    added_token("<one>", 9001, single_word=True),
    added_token("ab<l>", 9010, single_word=True),
    added_token("<l>", 9002, lstrip=True),
    added_token("<r>", 9003, rstrip=True),
    added_token("<lr>", 9004, lstrip=True, rstrip=True),
    added_token("\u3000 ", 9005, lstrip=True, rstrip=True),
    added_token("中", single_word=True),
    added_token("Café", 9006, normalized=True, special=False),
    added_token("new york", 9007, normalized=True, special=False, lstrip=True),
    added_token("ÉÉ", 9008, normalized=True, special=False, single_word=True),
    added_token("≠", 9009, normalized=True, special=False, rstrip=True),
    added_token("q", single_word=True, normalized=True, special=False),
]

ODD_TEMPLATE = template("$A:3 many:2", "many:0 $B:0 [SEP]:7 $A:255",
                        {"many": [4, 2, 4], "[SEP]": [VOCABULARY["[SEP]"]]})

# Folder -> its files. Those with a tokenizer_config.json are read by transformers, the others by
# tokenizers.
FOLDERS = {
    "uncased": {"tokenizer.json": tokenizer_json(bert_normalizer())},
    "cased": {"tokenizer.json": tokenizer_json(bert_normalizer(lowercase=False))},
    "cased-unaccented": {"tokenizer.json": tokenizer_json(bert_normalizer(lowercase=False,
                                                                          strip_accents=True))},
    "uncased-accented": {"tokenizer.json": tokenizer_json(bert_normalizer(strip_accents=False))},
    "no-han-spaces": {"tokenizer.json": tokenizer_json(bert_normalizer(handle_chinese_chars=False))},
    "uncleaned": {"tokenizer.json": tokenizer_json(bert_normalizer(clean_text=False))},
    "uncleaned-cased": {"tokenizer.json": tokenizer_json(bert_normalizer(clean_text=False,
                                                                         lowercase=False))},
    "unnormalized": {"tokenizer.json": tokenizer_json(None, processor=None)},
    "added": {"tokenizer.json": tokenizer_json(
        bert_normalizer(), ADDED, {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]})},
    "added-cased": {"tokenizer.json": tokenizer_json(bert_normalizer(lowercase=False), ADDED,
                                                     ODD_TEMPLATE)},
    "prefix-of-letters": {"tokenizer.json": tokenizer_json(
        bert_normalizer(), continuing_subword_prefix="r", max_input_chars_per_word=7)},
    "no-prefix": {"tokenizer.json": tokenizer_json(bert_normalizer(), continuing_subword_prefix="")},
    "unused-prefix": {"tokenizer.json": tokenizer_json(bert_normalizer(),
                                                       continuing_subword_prefix="~~")},
    "vocabulary": {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer"}},
    "vocabulary-cased": {
        "tokenizer_config.json": {"do_lower_case": False, "tokenize_chinese_chars": False,
                                  "model_max_length": 1000000000000000019884624838656},
        "special_tokens_map.json": {"unk_token": "the", "sep_token": "fox", "cls_token": {
            "content": "quick", "lstrip": True, "rstrip": False, "single_word": True, "normalized": False}}},
    "vocabulary-decoder": {"tokenizer_config.json": {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": False,
        "model_max_length": 64,
        "added_tokens_decoder": {
            str(number): {key: value for key, value in added_token(content).items() if key != "id"}
            for number, content in ((1001, "<new>"), (1000, "<newer>"), (1, "[UNK]"), (3, "[SEP]"))}}},
    "overruled": {"tokenizer.json": tokenizer_json(bert_normalizer(lowercase=False, clean_text=False)),
                  "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast", "strip_accents": False,
                                            "tokenize_chinese_chars": False}},
    "not-overruled": {"tokenizer.json": tokenizer_json(bert_normalizer(lowercase=False)),
                      "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                                "do_lower_case": True}},
}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


def write_folders():
    for name, files in FOLDERS.items():
        folder = os.path.join(HERE, name)
        os.makedirs(folder, exist_ok=True)
        for file_name, value in files.items():
            write_json(os.path.join(folder, file_name), value)
        if name.startswith("vocabulary"):
            with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8", newline="") as out:
                out.write("".join(token + ("\r\n" if index % 7 == 0 else "\n")
                                  for token, index in VOCABULARY.items()))


def load(folder):
    """The reference for a folder, without truncation and padding."""
    if os.path.exists(os.path.join(folder, "tokenizer_config.json")):
        scratch = folder
        if not os.path.exists(os.path.join(folder, "config.json")):
            scratch = os.path.join("/tmp", "token-golden", os.path.basename(folder))
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(folder, scratch)
            write_json(os.path.join(scratch, "config.json"), {"model_type": "bert"})
        tokenizer = transformers.AutoTokenizer.from_pretrained(scratch)._tokenizer
    else:
        tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def random_texts():
    """Strings of what the rules tell apart, in any order."""
    atoms = (list("aabcefirxqZRÉé") + list("  \t\n.,[]#<>≠½") + ["[SEP]", "[CLS]", "<one>", "<l>", "<r>", "<lr>",
             "new york", "New  York", "Café", "cafe\u0301", "ÉÉ", "\u3000 ", "##ing", "##", "the", "quick", "fox",
             "play", "中", "文", "한글", "\u1112\u1161\u11ab", "\u0301", "\u0327", "\u302e", "\u302f", "\u034f",
             "\U0001d165", "\U0001d16d", "\U0001d15e", "\u0345", "\u0590", "\u200b", "\u200d", "\x00", "\ufffd",
             "\x7f", "\x85", "\xa0", "\u2028", "\u0130", "ı", "Σ", "ς", "ﬁ", "\ue000", "\u0378", "\U0001f600",
             "क्षि", "กำ", "שׁ", "لا", "𐐀", "Ａ"])
    dice = random.Random(20191119)
    return ["".join(dice.choice(atoms) for _ in range(dice.randint(1, 14))) for _ in range(300)]


def golden_ids(folders):
    texts = TEXTS + random_texts()
    found = {}
    for name, folder in folders.items():
        tokenizer = load(folder)
        found[name] = {
            "single": [tokenizer.encode(text).ids for text in texts],
            "pair": [[encoding.ids, encoding.type_ids] for encoding in
                     (tokenizer.encode(*pair) for pair in PAIRS)]}
    write_json(os.path.join(HERE, "ids.json"), {
        "made_with": "tokenizers %s, transformers %s" % (tokenizers.__version__, transformers.__version__),
        "texts": texts, "pairs": PAIRS, "ids": found})


def fnv1a(data, value=0xCBF29CE484222325):
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


# clean_text, handle_chinese_chars, strip_accents, lowercase
EXHAUSTIVE_NORMALIZERS = [(True, True, True, True), (False, True, True, False), (False, False, False, True),
                          (True, False, True, False)]


def exhaustive():
    """A line a block of 256 code points: digest of ids, digest of normalized texts."""
    tokenizer = load(os.path.join(HERE, "uncased"))
    raw = load(os.path.join(HERE, "unnormalized"))
    normalize = [normalizers.BertNormalizer(*flags).normalize_str for flags in EXHAUSTIVE_NORMALIZERS]
    with open(os.path.join(HERE, "code_points.txt"), "w", encoding="utf-8") as out:
        for block in range(0x110000 // 256):
            if 0xD8 <= block < 0xE0:
                continue
            texts = ["a{0}b {0} {0}\u0301x".format(chr(c)) for c in range(block * 256, block * 256 + 256)]
            ids_digest = text_digest = 0xCBF29CE484222325
            for one in (tokenizer, raw):
                for encoding in one.encode_batch(texts):
                    data = b"".join(token.to_bytes(4, "little") for token in encoding.ids)
                    ids_digest = fnv1a(data + b"\n", ids_digest)
            for c in range(block * 256, block * 256 + 256):
                for one in normalize:
                    text = "\u0345{0}\u0327\u0334{0}Q".format(chr(c))
                    text_digest = fnv1a(one(text).encode() + b"\n", text_digest)
            out.write("%04x %016x %016x\n" % (block, ids_digest, text_digest))


def kept_of_second(tokenizer, first, second):
    """The digit of the only_second strategy; "-" where the reference refuses."""
    try:
        ids = tokenizer.encode(" ".join(first), " ".join(second)).ids
    except Exception:
        return "-"
    middle = ids.index(3, 1)
    assert ids[1:middle] == [VOCABULARY[token] for token in first]
    return "%x" % (len(ids) - middle - 2)


def only_second():
    """As truncation(), but only what is kept of b: a is never cut. From 4 on: without
    any room beside the special tokens the reference drops both."""
    tokenizer = load(os.path.join(HERE, "uncased"))
    kept = {}
    for max_length in range(4, 17):
        kept[max_length] = {}
        for side in ("right", "left"):
            tokenizer.enable_truncation(max_length, strategy="only_second", direction=side)
            kept[max_length][side] = "".join(
                kept_of_second(tokenizer, "a b c d e f g h i j k l".split()[:a],
                               "m n o p q r s t u v w x".split()[:b])
                for a in range(13) for b in range(13))
    tokenizer.no_truncation()
    write_json(os.path.join(HERE, "only_second.json"), kept)


def truncation():
    """max_length -> side -> kept tokens of a and b, as hexadecimal digits, for sizes 0..12 by 0..12."""
    tokenizer = load(os.path.join(HERE, "uncased"))
    kept = {}
    for max_length in range(3, 17):
        kept[max_length] = {}
        for side in ("right", "left"):
            tokenizer.enable_truncation(max_length, strategy="longest_first", direction=side)
            digits = {"single": "", "pair": ""}
            for a in range(13):
                first = "a b c d e f g h i j k l".split()[:a]
                digits["single"] += "%x" % (len(tokenizer.encode(" ".join(first)).ids) - 2)
                for b in range(13):
                    second = "m n o p q r s t u v w x".split()[:b]
                    ids = tokenizer.encode(" ".join(first), " ".join(second)).ids
                    middle = ids.index(3, 1)
                    a_ids, b_ids = ids[1:middle], ids[middle + 1:-1]
                    # The test rebuilds the ids from the sizes; this is why it may.
                    for part, whole in ((a_ids, first), (b_ids, second)):
                        whole = [VOCABULARY[token] for token in whole]
                        assert part == (whole[:len(part)] if side == "right" else whole[len(whole) - len(part):])
                    digits["pair"] += "%x%x" % (len(a_ids), len(b_ids))
            kept[max_length][side] = digits
    tokenizer.no_truncation()
    write_json(os.path.join(HERE, "truncation.json"), kept)


def short_digest(encodings):
    lines = "".join(" ".join(map(str, encoding.ids)) + "\n" for encoding in encodings)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def trec(model, data):
    """A line a query: digests of the query, its passages, and its pairs truncated at 64 and 512."""
    tokenizer = load(model)
    with open(os.path.join(data, "candidates.jsonl"), encoding="utf-8") as lines, \
            open(os.path.join(HERE, "dl19.txt"), "w", encoding="utf-8") as out:
        for line in lines:
            entry = json.loads(line)
            query = entry["query"]
            passages = [candidate["text"] for candidate in entry["candidates"]]
            digests = [short_digest([tokenizer.encode(query)]), short_digest(tokenizer.encode_batch(passages))]
            for max_length in (64, 512):
                tokenizer.enable_truncation(max_length, strategy="longest_first")
                digests.append(short_digest(tokenizer.encode_batch([(query, text) for text in passages])))
                tokenizer.no_truncation()
            out.write(" ".join([entry["qid"], *digests]) + "\n")


def main(model, data):
    write_folders()
    golden_ids({MODEL_NAME: model, **{name: os.path.join(HERE, name) for name in FOLDERS}})
    truncation()
    only_second()
    trec(model, data)
    exhaustive()


if __name__ == "__main__":
    main(options.model, options.data)
