"""What stands around rerankd, for bench/fleet/measure: HAProxy before it, Redis beside it."""

import os
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

from timing import CACHES, HEADERS, Client, Program, body_of, free_port, lists, rerankd, run_load

HAPROXY = """
global
  maxconn 4096
  nbthread 1
  tune.bufsize 262144
{tls}
defaults
  mode http
  timeout client 60s
  timeout connect 1s
  timeout server 60s
  retries 2
  {retry}
frontend plain
  bind 127.0.0.1:{port}
  default_backend rerankd
{secure}
backend rerankd
  balance leastconn
  http-reuse safe
  {buffer}
  http-request disable-l7-retry unless {{ method GET HEAD OPTIONS POST }}
  server one 127.0.0.1:{server}
  server two 127.0.0.1:{server}
"""
RETRY = "retry-on conn-failure empty-response 503"


def certificate(folder):
    path = os.path.join(folder, "both.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", os.path.join(folder, "key"), "-out", os.path.join(folder, "cert")],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(path, "wb") as out:
        for name in ("cert", "key"):
            with open(os.path.join(folder, name), "rb") as part:
                out.write(part.read())
    return path


def haproxy(folder, server, kept, tls):
    """kept: requests are buffered whole and can be sent again, as deploy/haproxy.cfg does."""
    port, secure = free_port(), free_port()
    text = HAPROXY.format(port=port, server=server.port, buffer="option http-buffer-request" if kept else "",
                          retry=RETRY if kept else "", tls="",
                          secure=f"frontend secure\n  bind 127.0.0.1:{secure} ssl crt {tls}\n  default_backend rerankd")
    path = os.path.join(folder, f"haproxy-{kept}.cfg")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    program = Program(["haproxy", "-q", "-f", path], port, stderr=subprocess.DEVNULL)
    program.secure = secure
    return program


def measure_haproxy(arguments, costs):
    """CPU time of one thread of HAProxy for a request; rerankd behind it has all scores in its cache."""
    server = rerankd(arguments, "int8", arguments.cross_encoder, *CACHES)
    found = {}
    programs = {}
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        try:
            pem = certificate(folder)
            programs = {"kept": haproxy(folder, server, True, pem), "passed": haproxy(folder, server, False, pem)}
            for size in (10, 30, 100):
                run_load(arguments, server.port, size, 4)
                rows = {}
                bodies = [body_of(*pair) for pair in list(lists(arguments, size))[:20]]
                Client(server).cost(bodies)
                for _ in range(3):
                    for name, program in programs.items():
                        cpu = program.cpu_seconds()
                        done = run_load(arguments, program.port, size, 8)["counts"]["right"]
                        rows.setdefault(name, []).append((program.cpu_seconds() - cpu) / done)
                    client = Client(programs["kept"], programs["kept"].secure, trusting)
                    client.ask(bodies[0])  # the handshake is another's figure
                    rows.setdefault("kept, TLS", []).append(client.cost(bodies))
                    rows.setdefault("kept, one connection", []).append(Client(programs["kept"]).cost(bodies))
                found[size] = {name: {"cpu_us": round(1e6 * min(taken), 2), "cpu_median_us": round(1e6 * statistics.median(taken), 2)}
                               for name, taken in rows.items()}
                print(size, found[size], flush=True)
            found["handshake"] = handshake(programs["kept"], trusting, body_of("q", ["t"]))
            print("handshake", found["handshake"], flush=True)
        finally:
            for program in [*programs.values(), server]:
                program.stop()
    costs["haproxy"] = found


def handshake(program, trusting, body):
    """A connection, its handshake (ECDSA P-256, TLS 1.3) and one small request."""
    taken = {}
    for name, tls in (("connection with TLS", trusting), ("connection", None)):
        times = []
        for _ in range(3):
            cpu = program.cpu_seconds()
            for _ in range(50):
                client = Client(program, program.secure if tls else program.port, tls)
                client.connection.request("POST", "/rerank", body, HEADERS)
                client.connection.getresponse().read()
                client.connection.close()
            times.append((program.cpu_seconds() - cpu) / 50)
        taken[name] = {"cpu_us": round(1e6 * min(times), 1), "cpu_median_us": round(1e6 * statistics.median(times), 1)}
    return taken


def redis_info(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"INFO\r\nQUIT\r\n")
        text = b""
        while chunk := connection.recv(65536):
            text += chunk
    return dict(line.split(":", 1) for line in text.decode().split("\r\n") if ":" in line)


def measure_redis(arguments, costs):
    """One Redis: MGET of random ones of a million keys of 40 bytes with values of 36, as rerankd's shared cache has them,
    and SET, pipelined."""
    port = free_port()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Program(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                           "--dir", folder], port, stderr=subprocess.DEVNULL)
        try:
            client = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "--csv"]
            key = "rerankd:" + 20 * "0" + "__rand_int__"  # each occurrence is another number, of 12 digits
            # First, so that the others find a million keys: those of one request lie anywhere in memory.
            loads = {"SET, pipelined by 100": (["set", key, 36 * "x", "ex", "3600"], 3000000, 100, 1)}
            for count in (1, 10, 30, 100):
                loads[f"MGET {count}"] = (["mget", *[key] * count], 400000 // (count + 9), 1, count)
            loads["MGET 100, four at a time"] = (["mget", *[key] * 100], 8000, 4, 100)
            for name, (command, requests, pipelined, count) in loads.items():
                rows = []
                for _ in range(1 if name.startswith("SET") else 3):
                    before, cpu, begin = redis_info(port), program.cpu_seconds(), time.monotonic()
                    subprocess.run([*client, "-c", "16", "-n", str(requests), "-P", str(pipelined), "-r", "1000000", *command],
                                   check=True, stdout=subprocess.DEVNULL)
                    cpu, seconds, after = program.cpu_seconds() - cpu, time.monotonic() - begin, redis_info(port)
                    rows.append((cpu / requests, seconds / requests,
                                 (int(after["total_net_input_bytes"]) - int(before["total_net_input_bytes"])) / requests,
                                 (int(after["total_net_output_bytes"]) - int(before["total_net_output_bytes"])) / requests))
                best = min(row[0] for row in rows)
                found[name] = {"cpu_us": round(1e6 * best, 2), "cpu_median_us": round(1e6 * statistics.median(row[0] for row in rows), 2),
                               "keys_per_core_second": round(count / best), "bytes_in": round(rows[0][2]), "bytes_out": round(rows[0][3]),
                               "commands_per_second": round(1 / min(row[1] for row in rows))}
                print(name, found[name], flush=True)
            info = redis_info(port)
            found["memory"] = {"bytes": int(info["used_memory"]), "keys": int(info.get("db0", "keys=0").split("=")[1].split(",")[0])}
            print("memory", found["memory"], flush=True)
        finally:
            program.stop()
    costs["redis"] = found
