from pipeline.params import run_stage
from pipeline.policy.judges import main

if __name__ == "__main__":
    run_stage(main)
