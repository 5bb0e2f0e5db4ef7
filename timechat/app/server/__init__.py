"""Answers about videos over HTTP, in the form of OpenAI's chat completions: `timechat serve`."""
