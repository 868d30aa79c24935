"""RAFT and its parts."""
