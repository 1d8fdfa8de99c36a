"""A BentoML service as BentoML's manual writes it."""

import bentoml
from graph import Answer, Row, said_of


@bentoml.service
class Stock:
    @bentoml.api
    def predict(self, rows: list[Row]) -> Answer:  # type: ignore[valid-type]
        return said_of(rows)
