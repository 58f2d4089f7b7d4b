"""``mpj`` as a process, with measurements that are too short to mean anything."""

from mpj_operator.cli import main
from mpj_operator.core import params

if __name__ == "__main__":
    params.BENCHMARK_SECONDS = 0.5
    main()
