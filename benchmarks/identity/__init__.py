"""Does anything false get through with exit 0? Real files are changed behind the harness's back, and real runs are made."""
