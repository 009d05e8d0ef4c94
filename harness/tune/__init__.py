"""Where adapters come from: training with the tasks that evaluate, by every PEFT method or in full."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # importing the Trainer imports it, and it tells of kernels it does without
