"""The course's assignments: a student's own numbers, and the check that says what is off.

A notebook calls `enrol`, `task` and `check`. `judge` is what `check` and the grading of a class
have in common. The package holds what is checked, not how it is solved: an answer is compared
with a simulation or with what defines it.
"""

from coursework.engine import ASSIGNMENTS, Verdict, check, encode, enrol, judge, normalise, parts
from coursework.engine import task as task

__all__ = ["ASSIGNMENTS", "Verdict", "check", "encode", "enrol", "judge", "normalise", "parts"]
__all__ += ["task"]
