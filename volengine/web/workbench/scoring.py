"""Models before and after: all models of a project on all training boxes, as a job, and its table."""

from __future__ import annotations

import csv
from typing import Any

from volengine.core.errors import InputError
from volengine.web.workbench.jobs import Job, Jobs
from volengine.web.workbench.project import Project
from volengine.web.workbench.teaching import Teaching

KIND = "score"
TABLE = "scores.csv"


class Scoring:
    """What the scores of the section Teach work with.

    Parameters
    ----------
    project, jobs, teaching
        The project, its jobs, and its models.
    """

    def __init__(self, project: Project, jobs: Jobs, teaching: Teaching):
        self.project, self.jobs, self.teaching = project, jobs, teaching

    def facts(self) -> dict[str, Any]:
        """The last job, and of the last one that is done the rows: texts by names of columns, empty if not known."""
        every = [job for job in self.jobs.every() if job.kind == KIND]
        found: dict[str, Any] = {"job": None, "of": None, "rows": []}
        if every:
            last = every[0]
            command = last.shell.partition(" --csv ")[0]  # it prints the table, wherever it is called from
            found["job"] = {"number": last.number, "state": last.state, "why": last.why, "command": command}
        done = next((job for job in every if job.state == "done"), None)
        if done is not None:
            found["of"] = {"job": done.number, "said": [one for one in done.log_tail(40).splitlines() if ": " in one]}
            try:
                with (done.folder / TABLE).open(newline="", encoding="utf-8") as file:
                    found["rows"] = [dict(row) for row in csv.DictReader(file)]
            except (OSError, ValueError) as error:
                found["of"]["wrong"] = f"{done.folder / TABLE}: {error}"
        return found

    def start(self) -> Job:
        """Score the models of the project that can be read, the oldest first.

        Raises
        ------
        InputError
            There is no model, nothing can be written, or scores are being made.
        """
        if not self.project.writable:
            raise InputError(f"{self.project.folder}: cannot be written to, so it can only be looked at.")
        if any(job.kind == KIND and job.going for job in self.jobs.every()):
            raise InputError("Scores are being made; wait for them, or stop that job.")
        annotated = {one["name"] for one in self.teaching.facts()["features"]}
        names = [
            one["name"]
            for one in self.teaching.models()
            if annotated & {feature["name"] for feature in one.get("features", ())} and "," not in one["name"]
        ]
        if not names:
            raise InputError("There is no model of a feature that has training boxes yet.")
        models = [part for name in names for part in ("--models", f"models/{name}")]
        arguments = ["annotate", "score", "annotations", *models, "--csv", "{job}/" + TABLE, "--no-progress"]
        return self.jobs.start(KIND, f"Scores of {len(names)} model{'s' if len(names) > 1 else ''}", arguments)
