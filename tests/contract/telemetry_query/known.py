"""What the store is filled with, and when: recent, since old rows expire."""

import time


BASE_MS = int(time.time()) // 60 * 60_000 - 3_600_000
"""Time of the first sample, on a full minute; the others follow each 15 s."""

SAMPLES = 41
TRACE = "0af7651916cd43dd8448eb211c80319c"
