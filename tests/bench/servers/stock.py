"""A BentoML service as BentoML's manual writes it."""

import bentoml

from tests.bench.servers.graph import Answer, Row, answer


@bentoml.service
class Stock:
    @bentoml.api
    def predict(self, rows: list[Row]) -> Answer:
        return answer(rows)
