"""The modules behind `quickstart.data.make`: scenes, pixels, annotations, vocabularies."""
