"""FastAPI with onnxruntime, as FastAPI's manual writes it: a plain endpoint, and with ASYNC=1 an async one."""

import os
from typing import Any

from fastapi import FastAPI
from graph import Answer, Request, said

app = FastAPI()

if os.environ.get("ASYNC"):

    @app.post("/predict")
    async def predict(request: Request) -> Answer:  # type: ignore[valid-type]
        return said(request)

else:

    @app.post("/predict")
    def predict_in_a_thread(request: Request) -> Answer:  # type: ignore[valid-type]
        return said(request)
