#!/usr/bin/env python3
"""Goes into Gradescope's zip: gives a submission the points found elsewhere, by e-mail address."""

import json
import pathlib
import sys

if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/autograder")
    known = json.loads((place / "source" / "grades.json").read_text())
    users = json.loads((place / "submission_metadata.json").read_text())["users"]
    emails = [user["email"].strip().lower() for user in users]
    found = [known[email] for email in emails if email in known]
    result = found[0] if found else {"score": 0, "output": "No grade for this e-mail address."}
    (place / "results" / "results.json").write_text(json.dumps(result))
