"""Evaluation: questions -> answers -> parsed -> scored -> reported. `timechat.evaluation.run.evaluate` does it all."""
