"""The trained model and rows that it has not seen, as tests/model/ has them."""

from tests.model.conftest import model, rows

__all__ = ["model", "rows"]
