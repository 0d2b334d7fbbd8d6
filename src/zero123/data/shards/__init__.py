"""Tar shards in webdataset's layout: many objects in few large files, with an index beside them."""
