"""`mldebug bench run`: agents over the tasks of a file, in any order, resumable and replayable."""
