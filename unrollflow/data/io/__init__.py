"""Reading and writing flow, images and masks; files are written whole or not at all."""
