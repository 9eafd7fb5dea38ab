"""The inputs that fuzzing starts from: a function a target, which gives the bytes of each. Most are the golden
files in the form that the target takes."""

import base64
import gzip
import json
import os
import struct

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "tests", "golden")
SEPARATOR = b"\xffPART\xff"
PATHS = ("/", "/rerank", "/predict", "/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/reranking",
         "/v1/reranking", "/documents")

# What libzstd 1.5 makes of a request body, in base 85.
ZSTD = ('D77#BU<Uzp0|3&76&HZ34qyb?Hoa+xAzB;=0hzc22c*jAXwTz9Cw*T>JYlL;qd<|uWw6ApDI=?<lS}uM|M31$3OMP5'
        '%%K|TUb5Xw=Nkpv!C%m@u{hYRsZQGL<DyOn0Iy(1HBtfOLo?72C;?RJ297Yv')


def read(*parts):
    with open(os.path.join(GOLDEN, *parts), "rb") as file:
        return file.read()


def dump(value):
    return json.dumps(value, ensure_ascii=False).encode()


def tensors(entries):
    """A safetensors file; entries: name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, content) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = dump(header)
    return struct.pack("<Q", len(text)) + text + data


def floats(n, salt=0):
    return struct.pack("<%df" % n, *(((i * 37 + salt * 11) % 17 - 8) / 16 for i in range(n)))


def request():
    for folder, _, names in os.walk(os.path.join(GOLDEN, "wire")):
        for name in sorted(names):
            if name.endswith(".request.json"):
                pair = json.loads(read(folder, name))
                if pair["method"] == "POST" and pair["path"] in PATHS and "body" in pair:
                    body = pair["body"]
                    text = body.encode() if isinstance(body, str) else dump(body)
                    yield b"%d0" % PATHS.index(pair["path"]) + text
    yield b'11{"query": "a", "texts": ["b", "\\ud83d\\ude00"], "truncate": null}'
    yield b'32{"query": {"text": "a"}, "documents": [{"t": 1, "u": "b"}], "rank_fields": ["t", "u"]}'
    yield b'90{"documents": [{"id": "a", "text": "b"}, "c", {"id": null, "text": "d"}], "max_tokens_per_doc": 3}'
    yield b'90{"documents": [{"id": "a", "text": "b"}, {"id": "a", "text": "c"}]}'
    yield b'10{"query": "a", "texts": [{"id": "b"}, null, "c"], "return_text": true}'
    yield b'30{"query": "a", "documents": [{"id": "b"}, {"text": "c"}], "rank_fields": ["d"], "return_documents": true}'
    yield b'10{"\\u00\n0"}'  # whose error quotes the line feed
    yield b'50{"text_1": ["a", null], "text_2": "b", "truncate_prompt_tokens": -1}'


def coding():
    text = dump({"query": "q", "texts": ["the bridge over the river", "bread"] * 4})
    for limit in range(4):
        yield bytes([limit << 1]) + gzip.compress(text, mtime=0)
        yield bytes([limit << 1]) + gzip.compress(text, 0, mtime=0) + gzip.compress(b"", mtime=0)
        yield bytes([limit << 1 | 1]) + base64.b85decode(ZSTD)
        yield bytes([limit << 1 | 1]) + b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00abcde" * 2
    yield b"\x06" + gzip.compress(bytes(1 << 16), mtime=0)


def documents():
    def head(max_bytes=1 << 20, version=1):
        return struct.pack("=8sIIQQ16s32s32s16s", b"\x89RRDOC\r\n", 0x01020304, version, max_bytes, 7,
                           b"the fuzzed model", bytes(range(32)), b"", b"")

    def entry(sequence, position, key, size):
        return struct.pack("=QQ16s16sIIQ", sequence, position, key, b"", size, 0, 0)

    slots, data = 126, bytes(range(1, 251))
    capacity = (1 << 20) - 4096 - 8192
    one = entry(0, 0, b"", 0) + entry(1, 0, b"\1", 100) + entry(2, 100, b"\2", 150)
    wrapped = entry(slots, capacity * 3 - 50, b"\3", 100) + entry(slots + 1, capacity * 3 + 50, b"", 150)
    twice = entry(0, 0, b"", 0) + entry(1, 0, b"\1", 100) + entry(2, 100, b"\1", 150)
    extreme = (entry(1 << 62, (1 << 62) - 1, b"", 1) + entry((1 << 64) - 1, 1 << 62, b"", (1 << 32) - 1)
               + entry(slots * ((1 << 32) - 2) + 2, 1 << 62, b"\2", capacity // 4))
    for directory in (one, wrapped, twice, extreme):
        for right in (15, 7, 3, 1):
            yield bytes([right]) + SEPARATOR.join((head(), directory, data))
    yield b"\x0e" + SEPARATOR.join((head(max_bytes=2 << 20), one, data))
    yield b"\x0e" + SEPARATOR.join((head(version=2), one, data))
    yield b"\x10" + head()
    yield b"\x10" + head()[:20]
    yield b"\x10"


def shared():
    value = b"$36\r\n" + bytes(range(36)) + b"\r\n"
    replies = [b"+PONG\r\n", b"-ERR no\r\n", b":7\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"*2\r\n" + value + b"$-1\r\n",
               b"*3\r\n" + value + b":1\r\n+x\r\n", b"*1\r\n*1\r\n" + value, b"*16\r\n" + value * 16, b"*17\r\n" + value * 17,
               b"$2147483647\r\n", b"*2147483647\r\n", b"HTTP/1.1 400\r\n\r\n", b"+OK\r\n" * 5 + b"*1\r\n" + value,
               b"%1\r\n+a\r\n:1\r\n", b"_\r\n", b",1.5\r\n", b"#t\r\n", b"$5000\r\n" + b"x" * 5000]
    for piece in (0, 40, 255):
        for reply in replies:
            yield bytes([piece, 16]) + reply
            yield bytes([piece, 2]) + reply + reply


def framing():
    yield (b"POST http://a:80/b%20c?d HTTP/1.1\r\nHost: e\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
           b"Cookie: f=g\r\nConnection: close, x\r\n\r\nabc")
    yield b"\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\nX: \t y \r\n\r\nGET / HTTP/1.1\r\n\r\n"
    yield b"OPTIONS * HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield b"3;a=\"b\"\r\nabc\r\n0A \t;c\r\n0123456789\r\n000\r\nB: c\r\nD:\r\n\r\nrest"
    yield b"GET /\0 HTTP/1.1\r\nA\r: b\r\n c\r\n\r\n"


def headers():
    yield b"gzip, deflate, br, zstd;q=0.9\n*;q=0.5, identity;q=0\nx-gzip\n"
    yield b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nrequest-1.a_b\n"
    yield (b'HTTP/1.1 302 Found\r\nETag: W/"0123456789abcdef0123456789abcdef01234567"\r\n'
           b"X-Repo-Commit: 0123456789abcdef0123456789abcdef01234567\r\nX-Linked-Size: 90868376\r\n"
           b'X-Linked-ETag: "%s"\r\nContent-Length: 1000\r\n\r\n' % (b"0123456789abcdef" * 4))
    yield b"Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\nRetry-After: 30\r\nX-Error-Code: GatedRepo\r\n\r\n"
    yield b"organisation/name\nrefs/pr/1\n1_Pooling/config.json\n../x\na//b\n0_Transformer/model.safetensors\n"


def hub():
    def listing(*names):
        return dump({"id": "o/n", "sha": "0123456789" * 4, "siblings": [{"rfilename": name} for name in names]})
    yield listing("config.json", "tokenizer.json", "model.safetensors", "README.md")
    yield listing("modules.json", "0_Transformer/config.json", "0_Transformer/model.safetensors.index.json",
                  "0_Transformer/vocab.txt", "1_Pooling/config.json", "onnx/config.json")
    yield listing("config.json", "pytorch_model.bin", "../config.json", "a/b\\c")


def config():
    mean, cross = "score/bi-encoder-mean", "score/cross-encoder"
    yield read(cross, "config.json")
    yield SEPARATOR.join((read(mean, "config.json"), read(mean, "modules.json"),
                          read(mean, "1_Pooling", "config.json"), read(mean, "sentence_bert_config.json")))
    small = {"architectures": ["BertForSequenceClassification"], "hidden_size": 4, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 4, "max_position_embeddings": 8, "vocab_size": 8,
             "id2label": {"0": "L"}, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5,
             "position_embedding_type": "absolute", "type_vocab_size": 2}
    yield dump(small)
    yield SEPARATOR.join((dump({**small, "architectures": ["BertModel"]}),
                          dump([{"idx": 0, "type": "sentence_transformers.models.Transformer", "path": ""},
                                {"idx": 1, "type": "x.Pooling", "path": "1_Pooling"},
                                {"idx": 2, "type": "x.Normalize", "path": "2_Normalize"}]),
                          b'{"pooling_mode": ["cls"]}', b'{"max_seq_length": 5}'))
    split = {**small, "num_hidden_layers": 4, "split_layers": 3}
    yield dump({**split, "split_residual": "maxsim", "split_residual_weight": -2.5, "split_head": "mean"})
    yield dump({**split, "architectures": ["BertModel"], "split_positions": "joint", "split_residual": "cosine"})
    for name in ("colbert", "colbert-attending"):
        yield SEPARATOR.join((read("score", name, "config.json"), b"[]", b"{}", b"{}",
                              read("score", name, "artifact.metadata")))


def scorer_file():
    yield dump({"scoring": "hybrid", "calibration": {"scores": [0, 0.5, 1], "logits": [-6.5, -1, 4]}})
    yield dump({"scoring": "cosine", "calibration": None})
    yield dump({"scoring": "maxsim", "calibration": {"scores": [-1000, 1000], "logits": [-1e-6, 1e-6]}})


def safetensors():
    yield tensors({"a": ("F32", [2, 2], floats(4)), "b": ("F16", [3], bytes(6)), "c": ("BF16", [], b"\x80\x3f")})
    yield tensors({"__metadata__": ("I64", [1], bytes(8)), "d": ("U8", [0, 9], b""), "e": ("I32", [1], bytes(4))})
    text = b'{"__metadata__": {"format": "pt"}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}   '
    yield struct.pack("<Q", len(text)) + text + bytes(4)


def shards():
    first = tensors({"a": ("F32", [1], floats(1)), "both": ("F32", [1], floats(1))})
    second = tensors({"b": ("F16", [2], bytes(4)), "both": ("F32", [1], floats(1, 1))})
    index = {"metadata": {"total_size": 12}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors",
                                                            "both": "b.safetensors"}}
    yield SEPARATOR.join((dump(index), first, second))
    yield SEPARATOR.join((dump({"weight_map": {"a": "a.safetensors"}}), first))


def tokenizer_file(**changes):
    """A complete one of a few tokens: the golden ones are too large to be changed with any effect."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "river", "un", "##hap", "##pily", "caf", "##e",
             "\u4e2d", "a", "b", ".", "%", "1", "##2"]
    template = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    added = {"id": 4, "content": "[MASK]", "single_word": False, "lstrip": True, "rstrip": False,
             "normalized": False, "special": True}
    return dump({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added, {**added, "id": 5, "content": "the", "single_word": True, "normalized": True}],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": template,
            "pair": template + [{"Sequence": {"id": "B", "type_id": 1}},
                                {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [names.index(name)], "tokens": [name]}
                               for name in ("[CLS]", "[SEP]")}},
        "decoder": None,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {name: i for i, name in enumerate(names)}},
        **changes})


def tokenizer():
    text = "Un\u00adhappily, the caf\u00e9 [MASK] \u4e2d\u6587 12%".encode()
    settings = b'{"tokenizer_class": "BertTokenizer", "do_lower_case": false, "model_max_length": 512}'
    yield SEPARATOR.join((tokenizer_file(), settings, text))
    yield tokenizer_file(normalizer=None)
    yield tokenizer_file(post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]})
    yield tokenizer_file(post_processor=None, added_tokens=[])
    yield read("token/added", "tokenizer.json")


def vocabulary():
    for name in ("vocabulary", "vocabulary-cased"):
        yield SEPARATOR.join((b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\r\nriver\n\n\xe4\xb8\xad\n",
                              read("token", name, "tokenizer_config.json"), b"The rivers [MASK]"))
    yield read("token/vocabulary", "vocab.txt")


def text():
    samples = ["the old stone bridge", "Caf\u00e9 \u4e2d\u6587 \U0001f600 [MASK]a", "un\u00adhappily\u0000\ufffd\u0301\u0345",
               "A\u030a\u0323 \u1e9b\u0323 \ud55c\uae00 \u0130\u0131\u03a3", "x" * 120 + " \u200d\u00a0\u3000<tag>", ""]
    for i, sample in enumerate(samples):
        for kind in range(8):
            yield b"%d%d" % (kind, (i + kind) % 8) + bytes([12]) + SEPARATOR.join(
                (samples[i - 1].encode(), sample.encode()))


def model():
    hidden, wide, words, positions = 4, 4, 8, 12
    shapes = {"embeddings.word_embeddings.weight": [words, hidden],
              "embeddings.position_embeddings.weight": [positions, hidden],
              "embeddings.token_type_embeddings.weight": [2, hidden],
              "embeddings.LayerNorm.weight": [hidden], "embeddings.LayerNorm.bias": [hidden],
              "pooler.dense.weight": [hidden, hidden], "pooler.dense.bias": [hidden],
              "classifier.weight": [1, hidden], "classifier.bias": [1]}

    def add_layer(layer):
        for name, rows, cols in (("attention.self.query", hidden, hidden), ("attention.self.key", hidden, hidden),
                                 ("attention.self.value", hidden, hidden),
                                 ("attention.output.dense", hidden, hidden), ("intermediate.dense", wide, hidden),
                                 ("output.dense", hidden, wide)):
            shapes[layer + name + ".weight"] = [rows, cols]
            shapes[layer + name + ".bias"] = [rows]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[layer + name + ".weight"] = shapes[layer + name + ".bias"] = [hidden]

    def weights():
        size = {name: shape[0] * (shape[1] if len(shape) > 1 else 1) for name, shape in shapes.items()}
        return tensors({name: ("F32", shape, floats(size[name], i)) for i, (name, shape) in enumerate(shapes.items())})

    add_layer("encoder.layer.0.")
    one_layer = weights()
    add_layer("encoder.layer.1.")
    two_layers = weights()
    settings = {"architectures": ["BertForSequenceClassification"], "hidden_size": hidden, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": wide, "max_position_embeddings": positions,
                "vocab_size": words, "id2label": {"0": "L"}}
    for number_format in range(3):
        for architecture in ("BertForSequenceClassification", "BertModel"):
            yield b"%d" % number_format + SEPARATOR.join(
                (one_layer, dump({**settings, "architectures": [architecture]})))
        for split in ({}, {"split_head": "mean", "split_residual": "maxsim"},
                      {"split_positions": "joint", "split_residual": "cosine", "split_residual_weight": 3}):
            yield b"%d" % number_format + SEPARATOR.join(
                (two_layers, dump({**settings, "num_hidden_layers": 2, "split_layers": 1, **split})))


TARGETS = {maker.__name__: maker for maker in (coding, config, documents, framing, headers, hub, model, request, safetensors,
                                               scorer_file, shards, shared, text, tokenizer, vocabulary)}
