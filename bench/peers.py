"""The engines under comparison. Each scores one query against many texts, tokenizing included; each is
given its best batch size for the request at hand before it is timed."""

import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import time

NAMES = ("onnxruntime fp32", "openvino fp32", "torch fp32")
BATCH_SIZES = (1, 4, 8, 16, 32)


def own_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Rerankd:
    name = "rerankd fp32"
    settings = "over HTTP, defaults"

    def __init__(self, binary, directory, threads):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        self.process = subprocess.Popen(
            [binary, "--model-id", directory, "--hostname", "127.0.0.1", "--port", str(self.port),
             "--threads", str(threads), "--log-level", "warn"], env=environment)
        self.overheads = []
        for _ in range(200):
            time.sleep(0.05)
            try:
                if self.request("GET", "/health")[0] == 200:
                    return
            except OSError:
                continue
        self.stop()
        raise SystemExit("rerankd did not become healthy")

    def request(self, method, path, body=None, headers=None):
        """On a connection of its own: between two rounds the server may have closed an idle one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def tune(self, query, texts):
        for _ in range(2):
            self.score(query, texts)
        self.overheads.clear()

    def score(self, query, texts):
        begin = time.perf_counter()
        body = json.dumps({"query": query, "texts": texts, "raw_scores": True}).encode()
        status, headers, reply = self.request("POST", "/rerank", body, {"Content-Type": "application/json"})
        reply = json.loads(reply)
        if status != 200:
            raise SystemExit(f"rerankd: {status} {reply}")
        wall = time.perf_counter() - begin
        inference = int(headers["x-inference-time"]) / 1000
        self.overheads.append(((wall - inference) / wall, wall, inference))
        scores = [0.0] * len(texts)
        for row in reply:
            scores[row["index"]] = row["score"]
        return scores

    def report_overhead(self):
        share = statistics.median(share for share, _, _ in self.overheads)
        print(f"rerankd: {100 * share:.1f} % of the request is not inference (client, HTTP, parsing, "
              "tokenizing, queue; median)")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


class Local:
    """An engine in this process: tokenizes with `tokenizers`, sorts by length, pads each batch."""

    def __init__(self, directory):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(512)
        self.batch = BATCH_SIZES[0]

    @property
    def settings(self):
        return f"batch {self.batch}, sorted by length"

    def cpu_seconds(self):
        return own_cpu_seconds()

    def tune(self, query, texts):
        """The batch size whose better run of two is fastest."""
        times = {}
        for batch in BATCH_SIZES:
            self.batch = batch
            self.score(query, texts)
            for _ in range(2):
                begin = time.perf_counter()
                self.score(query, texts)
                times[batch] = min(times.get(batch, 1e9), time.perf_counter() - begin)
        self.batch = min(times, key=times.get)

    def score(self, query, texts):
        import numpy
        encodings = self.tokenizer.encode_batch([(query, text) for text in texts])
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        scores = [0.0] * len(texts)
        for begin in range(0, len(order), self.batch):
            part = order[begin:begin + self.batch]
            longest = max(len(encodings[i].ids) for i in part)
            ids = numpy.zeros((len(part), longest), numpy.int64)
            mask = numpy.zeros_like(ids)
            types = numpy.zeros_like(ids)
            for row, i in enumerate(part):
                length = len(encodings[i].ids)
                ids[row, :length] = encodings[i].ids
                mask[row, :length] = 1
                types[row, :length] = encodings[i].type_ids
            for i, logit in zip(part, self.forward(ids, mask, types)):
                scores[i] = float(logit)
        return scores


class OnnxRuntime(Local):
    name = "onnxruntime fp32"

    def __init__(self, directory, cache, threads):
        super().__init__(directory)
        import cross_encoder
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        _, fused = cross_encoder.export_onnx(directory, cache)
        self.session = onnxruntime.InferenceSession(fused, options, providers=["CPUExecutionProvider"])

    def forward(self, ids, mask, types):
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return self.session.run(None, feeds)[0].reshape(-1)


class OpenVino(Local):
    name = "openvino fp32"

    def __init__(self, directory, cache, threads):
        super().__init__(directory)
        import cross_encoder
        import openvino
        plain, _ = cross_encoder.export_onnx(directory, cache)
        core = openvino.Core()
        self.model = core.compile_model(plain, "CPU", {"INFERENCE_NUM_THREADS": threads,
                                                       "INFERENCE_PRECISION_HINT": "f32",
                                                       "PERFORMANCE_HINT": "LATENCY"})

    def forward(self, ids, mask, types):
        return self.model({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})[0].reshape(-1)


class Torch(Local):
    name = "torch fp32"

    def __init__(self, directory, cache, threads):
        super().__init__(directory)
        import torch
        from transformers import BertForSequenceClassification
        torch.set_num_threads(threads)
        self.model = BertForSequenceClassification.from_pretrained(directory).eval()

    def forward(self, ids, mask, types):
        import torch
        with torch.inference_mode():
            return self.model(torch.from_numpy(ids), torch.from_numpy(mask),
                              torch.from_numpy(types)).logits.reshape(-1).numpy()


def make(name, directory, cache, threads):
    kinds = {"onnxruntime fp32": OnnxRuntime, "openvino fp32": OpenVino, "torch fp32": Torch}
    if name not in kinds:
        raise SystemExit(f"no peer named '{name}': {', '.join(NAMES)}")
    return kinds[name](directory, cache, threads)
