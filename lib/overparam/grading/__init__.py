"""Grading a class, for instructors: ``python -m overparam.grading --help``.

Students' code runs in a sandbox and is believed nothing; see `overparam.grading.grade`. nbgrader
is imported when something is graded, not before.
"""
