"""Video files and your own footage: reading, writing, scene cuts."""
