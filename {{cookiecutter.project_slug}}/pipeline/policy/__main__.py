from pipeline.policy.judges import main

if __name__ == "__main__":
    main()
