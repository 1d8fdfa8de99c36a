"""Writes requests to the folder argv[1], told by a bake's own code: a row as ours, as mlflow takes it, and 64 rows."""

import json
import sys
from pathlib import Path

sys.path.insert(0, ".")

from pipeline import contract, model, params, probe, rows  # noqa: E402

ours, served, into = contract.load(), model.load("model"), Path(sys.argv[1])
table = rows.between(*ours.days(params.load()).test, ours).head(64)
sample = probe.asked(served, table)
for name, body in {
    "one": {"rows": sample[:1]},
    "many": {"rows": sample},
    "mlflow": {"dataframe_records": sample[:1]},
}.items():
    (into / f"{name}.json").write_text(json.dumps(body))
