"""A lab's package, in a folder of its own: `import: [my_lab]` in a YAML file registers one thing of each kind."""

from my_lab import benchmark, builder, engine, model, processor, runner, schedule, task

__all__ = ["benchmark", "builder", "engine", "model", "processor", "runner", "schedule", "task"]
