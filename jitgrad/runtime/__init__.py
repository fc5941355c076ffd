"""Running compiled programs: calls, workspace, threads."""
