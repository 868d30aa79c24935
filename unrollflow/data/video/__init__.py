"""Video files and own footage: reading, writing, scene cuts."""
