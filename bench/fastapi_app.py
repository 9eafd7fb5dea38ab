"""The reranking server that people write themselves: sentence-transformers' CrossEncoder behind FastAPI, the model in
a pool of threads so that the event loop stays free, torch's threads and the batch size set. TEI's `POST /rerank`.

A peer of bench/sweep, run by uvicorn in the environment that rerankers.py makes."""

import argparse
import asyncio
import concurrent.futures


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="requests that are scored at a time")
    parser.add_argument("--threads", type=int, help="of torch, for each of them (default: as torch has it)")
    parser.add_argument("--limit", type=int, default=0, help="requests waiting or being scored; those beyond get 503; 0: no limit")
    return parser.parse_args()


if __name__ == "__main__":  # --help and mistakes before the imports that not everybody has
    read_arguments()

import fastapi  # noqa: E402
import pydantic  # noqa: E402
import torch  # noqa: E402
import uvicorn  # noqa: E402
from sentence_transformers import CrossEncoder  # noqa: E402


class Body(pydantic.BaseModel):
    query: str
    texts: list[str]
    raw_scores: bool = False


def make(model, batch, workers, limit):
    pending = 0  # only the event loop's thread touches it
    app = fastapi.FastAPI()
    pool = concurrent.futures.ThreadPoolExecutor(workers)

    def score(body):
        activation = torch.nn.Identity() if body.raw_scores else torch.nn.Sigmoid()
        with torch.inference_mode():
            scores = model.predict([(body.query, text) for text in body.texts], batch_size=batch,
                                   activation_fn=activation, show_progress_bar=False)
        return scores.tolist()

    @app.post("/rerank")
    async def rerank(body: Body):
        nonlocal pending
        if limit and pending >= limit:
            raise fastapi.HTTPException(503, "overloaded")
        pending += 1
        try:
            scores = await asyncio.get_running_loop().run_in_executor(pool, score, body)
        finally:
            pending -= 1
        order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
        return [{"index": i, "score": scores[i]} for i in order]

    @app.get("/health")
    async def health():
        return {"status": "ok"}

    return app


def main():
    arguments = read_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = CrossEncoder(arguments.model, device="cpu", num_labels=1,
                         model_kwargs={"torch_dtype": getattr(torch, arguments.dtype)},
                         processor_kwargs={"model_max_length": 512})
    uvicorn.run(make(model, arguments.batch, arguments.workers, arguments.limit), host="127.0.0.1",
                port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
