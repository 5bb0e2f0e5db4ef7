"""The parts of `quickstart.data.make`: scenes, their pixels, their annotations, their vocabularies."""
