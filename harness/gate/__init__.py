"""Decide whether a run may ship: check the rules of a policy against saved results.

In: a run, a baseline, and a `Policy` read from YAML. Out: a `GateDecision` with a finding for each rule: pass, fail, or inconclusive where
the data do not suffice. Rules decide by intervals; nothing here draws or prints.
"""
