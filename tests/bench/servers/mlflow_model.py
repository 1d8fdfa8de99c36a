"""A model for `mlflow models serve`, as MLflow's manual writes one from code; told to log itself to the folder TO."""

import os
from typing import Any

import mlflow.models
import mlflow.pyfunc

from tests.bench.servers.graph import NAMES, SESSION


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        score, alert = SESSION.run(None, {"_numbers": model_input[NAMES].to_numpy(dtype=float).T})
        return [{"score": one, "alert": other} for one, other in zip(score.tolist(), alert.tolist(), strict=True)]


mlflow.models.set_model(Scorer())

if __name__ == "__main__":
    mlflow.pyfunc.save_model(os.environ["TO"], python_model=__file__, pip_requirements=["mlflow"])
