"""FastAPI with onnxruntime, as FastAPI's manual writes it: a plain endpoint, and with ASYNC=1 an async one."""

import os

from fastapi import FastAPI

from tests.bench.servers.graph import Answer, Request, answer

app = FastAPI()

if os.environ.get("ASYNC"):

    @app.post("/predict")
    async def predict(request: Request) -> Answer:
        return answer(request.rows)

else:

    @app.post("/predict")
    def predict_in_a_thread(request: Request) -> Answer:
        return answer(request.rows)
