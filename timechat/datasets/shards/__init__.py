"""Videos and their annotations in tar files, as webdataset lays them out: `key.mp4` and `key.json`, side by side.

A shard has an index, which says where in it each member begins (`index.py`), so that a sample is read without unpacking
the shard, from a disk or by a range of bytes from a URL (`storage.py`). Of a million samples a process keeps arrays
(`items.py`), and reads the annotation when it reads the video (`dataset.py`).
"""
