"""Triangle meshes: from fields, from files, to pictures and to files."""
