"""The tests: they mirror the code; `stories/` run the whole program, `golden/` compare it with the released products."""
