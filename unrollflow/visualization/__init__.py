"""Flow as colours and arrows, panels, tables, and the HTML report of a run."""
