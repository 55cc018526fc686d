"""The main job, end to end: read, bind, search, report, pack."""
