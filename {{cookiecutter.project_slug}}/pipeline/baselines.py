"""Fit the scikit-learn models that the network has to beat, on the same rows and the published features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import params, rows
from pipeline.params import BadInput
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


def fit_and_score(
    name: str, knobs: Mapping[str, Any], train: pl.DataFrame, test: pl.DataFrame, names: list[str]
) -> Any:
    """Probabilities [test rows] that the label is 1, of the named classifier fitted to the columns `names` of `train`."""
    fitted = classifier(name, knobs).fit(train.select(names).to_numpy(), train[LABEL].to_numpy())
    return fitted.predict_proba(test.select(names).to_numpy())[:, 1]


def main() -> None:
    """Write one column of scores a baseline, for the test rows."""
    knobs = params.load()
    days = params.days(knobs)
    names = [column.name for column in feature_row(knobs["features"]["windows"])]
    train, test = rows.between(*days.train), rows.between(*days.test)
    if train[LABEL].n_unique() < 2:
        raise BadInput(f"the training days hold one value of {LABEL} only; move data.until or lengthen split.train")
    scores = test.select(ID)
    for name, arguments in knobs["baselines"].items():
        scores = scores.with_columns(pl.Series(name, fit_and_score(name, arguments or {}, train, test, names)))
        print(f"fitted {name}", flush=True)
    TARGET.parent.mkdir(exist_ok=True)
    scores.write_parquet(TARGET)


if __name__ == "__main__":
    main()
