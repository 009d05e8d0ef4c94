"""Where results go. An exporter takes finished runs and sends their scores to a file or a service; each is one file, found by name.

In: results folders whose digests were verified. Out: one line that says where the results went.
"""
