"""Grading a class, for instructors: ``python -m coursework --help``.

Students' code runs in a sandbox and is believed nothing; see `coursework.grading.grade`. nbgrader
is imported when something is graded, not before.
"""
