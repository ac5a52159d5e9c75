"""One thread for every test: the tensors are small, and a second thread waits whenever something else holds a core."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
