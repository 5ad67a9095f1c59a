"""python -m tests.gpu CASE OUT: engine_case.py, with stand-ins for what verl imports where it is not installed."""

from tests.gpu import stand_ins

if __name__ == "__main__":
    stand_ins.install()
    from tests.gpu.engine_case import main

    main()
