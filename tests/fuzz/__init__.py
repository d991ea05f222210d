"""What the product takes from outside, met with inputs made to break it.

Every input is drawn by Hypothesis from a seed: valid ones, valid ones with a few things wrong, and bytes. Each target
has its own oracle; none may say no more than "it did not crash". `python -m tests.fuzz` is the long form.

Why Hypothesis alone: what decodes here is compiled (pydantic-core, the MQTT codec), which coverage-guided fuzzing of
Python sees nothing of, and a finding must shrink to an input that a person can read.
"""
