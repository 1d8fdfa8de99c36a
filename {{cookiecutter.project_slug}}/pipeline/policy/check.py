"""Check each policy against its schema, without judging anything by it."""

from pipeline.params import run_stage
from pipeline.policy.bars import POLICIES, load


def main() -> None:
    """Raises BadInput for the first policy that is not as its schema says."""
    for path in sorted(POLICIES.glob("*.yaml")):
        load(path.stem)
        print(f"{path}: as its schema says")


if __name__ == "__main__":
    run_stage(main)
