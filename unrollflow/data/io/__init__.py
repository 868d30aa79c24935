"""Reading and writing of flow, images and masks; files are written atomically."""
