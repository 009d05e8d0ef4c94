"""How requests are computed: backends, found by name, and the engines that they open.

A model (`models.opening.Opening`) and requests (`contract`) enter; responses leave. No task and no metric is known here.
"""
