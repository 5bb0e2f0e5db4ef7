"""The quick start: an extension of TimeChat that trains and evaluates a tiny model on rendered videos.

A config loads its models, dataset builders and task with `import: [quickstart.plugin]`.
"""
