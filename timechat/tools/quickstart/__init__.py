"""The parts of `timechat.tools.make_quickstart_data`: scenes, their pixels, their annotations, their vocabularies."""
