"""Fit the scikit-learn models that the network has to beat, on the same rows and the published features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import params, rows
from pipeline.params import BadInput, run_stage
from pipeline.schema import ID, LABEL, feature_row

TARGET = Path("build/baselines.parquet")


def classifier(name: str, knobs: Mapping[str, Any]) -> Any:
    """An unfitted scikit-learn classifier; `knobs` are its arguments. Raises BadInput for another name or argument."""
    try:
        match name:
            case "logistic_regression":
                from sklearn.linear_model import LogisticRegression
                from sklearn.pipeline import make_pipeline
                from sklearn.preprocessing import StandardScaler

                return make_pipeline(StandardScaler(), LogisticRegression(**knobs))
            case "random_forest":
                from sklearn.ensemble import RandomForestClassifier

                return RandomForestClassifier(n_jobs=-1, **knobs)
            case "boosted_trees":
                from sklearn.ensemble import HistGradientBoostingClassifier

                return HistGradientBoostingClassifier(**knobs)
    except TypeError as error:
        raise BadInput(f"params.yaml: baselines.{name}: {error}") from None
    raise BadInput(
        f"params.yaml: baselines names {name!r}; it may name logistic_regression, random_forest and boosted_trees"
    )


def scores(name: str, knobs: Mapping[str, Any], train: pl.DataFrame, test: pl.DataFrame, inputs: list[str]) -> Any:
    """Probabilities [test rows] by the named classifier, fitted to the columns `inputs` of the rows `train`."""
    fitted = classifier(name, knobs).fit(train.select(inputs).to_numpy(), train[LABEL].to_numpy())
    return fitted.predict_proba(test.select(inputs).to_numpy())[:, 1]


def main() -> None:
    """Write one column of scores a baseline, for the test rows."""
    knobs = params.load()
    days = params.days(knobs)
    inputs = [column.name for column in feature_row(knobs["features"]["windows"])]
    train, test = rows.between(*days.train), rows.between(*days.test)
    if train[LABEL].n_unique() < 2:
        raise BadInput(f"the training days hold one value of {LABEL} only; move data.until or lengthen split.train")
    table = test.select(ID)
    for name, arguments in knobs["baselines"].items():
        table = table.with_columns(pl.Series(name, scores(name, arguments or {}, train, test, inputs)))
        print(f"fitted {name}", flush=True)
    TARGET.parent.mkdir(exist_ok=True)
    table.write_parquet(TARGET)


if __name__ == "__main__":
    run_stage(main)
